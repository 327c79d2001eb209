from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.align import TargetTransform, class_means, fit_whitening, mix_targets, mix_weights, normalize_targets
from sightwords.errors import ConfigError

NUM_ROWS, DIM = 7, 4
PARTNER = torch.tensor([1, 0, 2, 6, 3, 4, 5])
LAMS = [0.0, 0.7, 1.0, [0.0, 1.0, 0.5, 0.2, 1.0, 0.9, 0.0], [1.0, 0.3, 0.0, 0.0, 0.0, 0.6, 1.0]]


def unit_rows(seed: int = 0) -> np.ndarray:
    text = np.random.default_rng(seed).normal(size=(NUM_ROWS, DIM))
    return text / np.linalg.norm(text, axis=1, keepdims=True)


def correlated(num_rows: int = 500, dim: int = 6) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(size=(num_rows, dim)) @ rng.normal(size=(dim, dim)) + 5 * rng.normal(size=dim)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.tensor([1.0, 1.0, 0.5, 0.0, 2.0, 1.0, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("lam", LAMS)
def test_mixed_targets_equal_the_written_out_computation(lam, weight):
    text, every = unit_rows(), np.broadcast_to(np.asarray(lam), (NUM_ROWS,))
    expected, expected_weight = np.zeros_like(text), np.zeros(NUM_ROWS)
    for i, j in enumerate(PARTNER.tolist()):
        if (every[i] > 0 and weight[i] == 0) or (every[i] < 1 and weight[j] == 0):
            continue
        expected[i] = every[i] * text[i] + (1 - every[i]) * text[j]
        expected_weight[i] = every[i] * weight[i] + (1 - every[i]) * weight[j]
    text[weight.numpy() == 0] = np.nan  # no description: may hold anything
    lam = torch.tensor(lam) if isinstance(lam, list) else lam
    mixed, mixed_weight = mix_targets(torch.from_numpy(text), weight, PARTNER, lam)
    assert mixed.dtype == torch.float64
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(mixed_weight.numpy(), expected_weight, atol=1e-7)
    assert torch.equal(mix_weights(weight, PARTNER, lam), mixed_weight)


@pytest.mark.parametrize("lam", [0.3, torch.tensor([0.0, 1.0, 0.5, 0.2, 1.0, 0.9, 0.0])])
def test_several_texts_of_an_image_are_mixed_one_by_one(lam, weight):
    texts = torch.from_numpy(np.stack([unit_rows(seed) for seed in range(3)], axis=1))
    mixed, _ = mix_targets(texts, weight, PARTNER, lam)
    one_by_one = [mix_targets(texts[:, number], weight, PARTNER, lam)[0] for number in range(3)]
    assert torch.equal(mixed, torch.stack(one_by_one, dim=1))


def test_half_precision_vectors_are_mixed_in_float32(weight):
    text = torch.from_numpy(unit_rows())
    mixed, mixed_weight = mix_targets(text.half(), weight.half(), PARTNER, torch.full((NUM_ROWS,), 0.3).double())
    assert mixed.dtype == mixed_weight.dtype == mix_weights(weight.half(), PARTNER, 0.5).dtype == torch.float32
    torch.testing.assert_close(mixed.double(), mix_targets(text, weight, PARTNER, 0.3)[0], rtol=0, atol=2e-3)


def test_normalized_targets_have_unit_length():
    scaled = torch.from_numpy(unit_rows() * np.arange(NUM_ROWS)[:, None])
    expected = np.where(np.arange(NUM_ROWS)[:, None] > 0, unit_rows(), 0)
    np.testing.assert_allclose(normalize_targets(scaled).numpy(), expected, atol=1e-14)
    assert normalize_targets(scaled.half()).dtype == torch.float32
    assert normalize_targets(scaled.abs(), 1).sum(1).tolist() == pytest.approx([0] + [1] * (NUM_ROWS - 1))


def test_whitened_vectors_have_mean_zero_and_covariance_one_and_stay_nearest():
    vectors = torch.from_numpy(correlated())
    mean, matrix = fit_whitening(vectors, shrinkage=0.0)
    assert mean.dtype == matrix.dtype == torch.float32
    white = TargetTransform(mean, matrix, normalize=False)(vectors).numpy()
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-4)
    # ZCA is the one whitening whose matrix is symmetric and positive
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize("size", [1, 37, 500])
def test_chunks_give_the_moments_of_the_whole(size):
    vectors = correlated()
    far = torch.from_numpy(vectors + 1e7)  # sums of squares alone would lose the variance
    mean, matrix = fit_whitening(chunk for chunk in [far[:0], *far.split(size)])
    torch.testing.assert_close(matrix, fit_whitening(torch.from_numpy(vectors))[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean.numpy(), vectors.mean(axis=0) + 1e7, rtol=1e-6)


def test_directions_without_variance_are_not_blown_up():
    vectors = np.random.default_rng(2).normal(size=(400, 3)) * [1.0, 1e-4, 0.0] + [0.0, 0.0, 7.0]
    _, matrix = fit_whitening(torch.from_numpy(vectors), shrinkage=0.01)
    mean_variance = vectors.var(axis=0).mean()
    assert matrix.diag()[0] == pytest.approx((0.99 * vectors[:, 0].var() + 0.01 * mean_variance) ** -0.5, rel=1e-5)
    assert matrix.diag()[1:].tolist() == pytest.approx([(0.01 * mean_variance) ** -0.5] * 2, rel=1e-4)
    _, exact = fit_whitening(torch.from_numpy(vectors), shrinkage=0.0)
    assert exact.diag()[2] == 0  # left out
    _, centering = fit_whitening(torch.from_numpy(vectors), shrinkage=1.0)
    torch.testing.assert_close(centering, torch.eye(3) * float(mean_variance**-0.5))


@pytest.mark.parametrize("vectors", [torch.ones(5, 3) / 3, torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]), []])
def test_vectors_that_cannot_be_whitened_are_refused(vectors):
    with pytest.raises(ConfigError, match="text vectors"):
        fit_whitening(vectors)
    with pytest.raises(ConfigError, match="shrinkage"):
        fit_whitening(torch.rand(4, 2), shrinkage=1.5)


def test_the_transform_subtracts_multiplies_and_normalizes():
    text, mean, matrix = unit_rows(), np.arange(DIM) / 10, np.arange(DIM * DIM).reshape(DIM, DIM) % 5 - 1.5
    expected = (text - mean) @ matrix  # not symmetric: the matrix stands to the right
    plain = TargetTransform(torch.from_numpy(mean), torch.from_numpy(matrix), normalize=False)
    np.testing.assert_allclose(plain(torch.from_numpy(text)).numpy(), expected, atol=1e-12)
    unit = TargetTransform(torch.from_numpy(mean), torch.from_numpy(matrix))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    several = unit(torch.from_numpy(np.stack([text, 2 * text], axis=1)))
    np.testing.assert_allclose(several[:, 0].numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(TargetTransform()(torch.from_numpy(3 * text)).numpy(), text, atol=1e-12)


def test_the_transform_is_saved_and_in_float32_whatever_autocast_says():
    text = torch.from_numpy(correlated()).float()
    transform, other = TargetTransform(*fit_whitening(text)), TargetTransform(torch.zeros(6), torch.zeros(6, 6))
    expected = transform(text)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform(text), expected)
    assert transform(text.half()).dtype == torch.float32
    assert list(transform.parameters()) == []
    other.load_state_dict(transform.state_dict())
    assert torch.equal(other(text), expected)


@pytest.mark.parametrize(("mean", "matrix"), [((1, 4), None), ((4,), (4, 3)), ((4,), (5, 5)), (None, (5, 4))])
def test_transforms_of_a_wrong_shape_are_refused(mean, matrix):
    with pytest.raises(ConfigError, match="must be"):
        TargetTransform(*(None if shape is None else torch.zeros(shape) for shape in (mean, matrix)))


@pytest.mark.parametrize("size", [2, NUM_ROWS])
@pytest.mark.parametrize("as_probabilities", [False, True])
def test_class_means_are_weighted_means_of_unit_rows(as_probabilities, size):
    rows, label = unit_rows(), torch.tensor([0, 2, 2, 0, 2, 3, 0])
    weight = torch.nn.functional.one_hot(label).double()
    if as_probabilities:
        label = weight = weight * torch.rand(NUM_ROWS, 1, dtype=torch.float64) + weight.roll(2, 1) * 0.2
    expected = [np.average(rows, axis=0, weights=w) if w.any() else np.zeros(DIM) for w in weight.numpy().T]
    scaled = torch.from_numpy(rows * np.arange(1, NUM_ROWS + 1)[:, None])  # length must not count
    means = class_means(zip(scaled.split(size), label.split(size), strict=True), 4)
    assert means.dtype == torch.float32
    np.testing.assert_allclose(means.numpy(), expected, atol=1e-6)
    with pytest.raises(ConfigError, match="no text vectors"):
        class_means([], 3)
