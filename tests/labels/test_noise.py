"""Folds, probe, and the label noise that is found where it is known, and not found where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sightwords.labels.noise import LabelNoise, fit_logistic, folds_of, groups_of


def test_images_that_share_a_text_are_one_group():
    owners, rows = np.array([0, 0, 1, 2, 3, 4]), np.array([5, 6, 6, 7, 8, 7])
    groups = groups_of(owners, rows, 5)
    assert groups[0] == groups[1]
    assert groups[2] == groups[4]
    assert len(set(groups.tolist())) == 3


def test_folds_keep_groups_together_and_spread_classes():
    groups, labels = np.repeat(np.arange(40), 3), np.repeat(np.arange(4), 30)
    folds = folds_of(groups, labels, 5, seed=0)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in range(40))
    assert all((np.bincount(folds[labels == label], minlength=5) == 6).all() for label in range(4))
    assert (folds != folds_of(groups, labels, 5, seed=1)).any()
    assert set(folds_of(np.zeros(6, int), np.zeros(6, int), 5, 0).tolist()) == {0}


def test_the_probe_ends_where_the_gradient_is_zero():
    draw = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(60, 4, generator=draw), torch.randint(3, (60,), generator=draw)
    weight, bias = fit_logistic(vectors, labels, 3, 1e-2, 200)
    weight.requires_grad_(), bias.requires_grad_()
    (F.cross_entropy(vectors @ weight.T + bias, labels) + 1e-2 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-4
    assert bias.grad.abs().max() < 1e-4


def labeled(rate, num_images=4000, num_classes=6, clarity=3.0, flat=0.4, seed=0):
    """Return logits that are too flat by `flat`, labels with noise, and the true classes."""
    random = torch.Generator().manual_seed(seed)
    logits = clarity * torch.randn(num_images, num_classes, generator=random)
    true = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    wrong = torch.rand(num_images, generator=random) < rate
    shift = torch.randint(1, num_classes, (num_images,), generator=random)
    return flat * logits, torch.where(wrong, (true + shift) % num_classes, true), true


@pytest.mark.parametrize(("rate", "num_classes"), [(0.05, 6), (0.2, 6), (0.5, 6), (0.7, 6), (0.3, 2)])
def test_the_noise_rate_is_found(rate, num_classes):
    logits, labels, true = labeled(rate, num_classes=num_classes)
    noise = LabelNoise.fit(logits, labels)
    assert noise.rate == pytest.approx(float((labels != true).double().mean()), abs=0.03)
    if num_classes > 2:
        assert noise.sharpness == pytest.approx(1 / 0.4, rel=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_right_labels_and_texts_that_know_nothing_give_no_noise(seed):
    right, labels, _ = labeled(0.0, num_images=500, seed=seed)
    assert LabelNoise.fit(right, labels).rate == 0.0
    _, wrong, _ = labeled(0.4, num_images=500, seed=seed)
    other, _, _ = labeled(0.0, num_images=500, seed=1000 + seed)
    noise = LabelNoise.fit(other, wrong)
    assert noise.rate == 0.0
    assert (noise.class_probabilities(other, wrong).gather(1, wrong[:, None]) > 0.999).all()


def test_texts_that_repeat_the_label_give_no_noise():
    labels = torch.arange(300) % 5
    assert LabelNoise.fit(8.0 * torch.eye(5)[labels], labels).rate == 0.0


def test_the_true_class_follows_bayes_rule():
    logits, labels, _ = labeled(0.3, num_images=50)
    noise = LabelNoise(0.3, 2.5)
    found = noise.class_probabilities(logits, labels).numpy()
    for row, label in enumerate(labels.tolist()):
        prior = np.exp(2.5 * logits[row].double().numpy())
        joint = prior / prior.sum() * np.where(np.arange(6) == label, 0.7, 0.3 / 5)
        np.testing.assert_allclose(found[row], joint / joint.sum(), rtol=1e-5)


def test_class_probabilities_are_nearer_to_the_truth_than_labels_and_mean_what_they_say():
    logits, labels, true = labeled(0.5)
    probabilities = LabelNoise.fit(logits, labels).class_probabilities(logits, labels)
    best = probabilities.max(1)
    right = (best.indices == true).double()
    assert right.mean() > float((labels == true).double().mean()) + 0.15
    assert float(best.values.double().mean()) == pytest.approx(float(right.mean()), abs=0.02)  # calibrated
