from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.align import TargetTransform, class_means, fit_whitening, mix_targets, mix_weights, normalize_targets
from sightwords.errors import ConfigError

NUM_ROWS, DIM = 7, 4
PARTNER = [1, 0, 2, 6, 3, 4, 5]


def _case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(NUM_ROWS, DIM))
    return text / np.linalg.norm(text, axis=1, keepdims=True), np.array([1.0, 1.0, 0.5, 0.0, 2.0, 1.0, 0.0])


def _mix_reference(text: np.ndarray, weight: np.ndarray, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mixed, mixed_weight = np.zeros_like(text), np.zeros_like(weight)
    for i, j in enumerate(PARTNER):
        if (lam[i] > 0 and weight[i] == 0) or (lam[i] < 1 and weight[j] == 0):
            continue
        mixed[i] = lam[i] * text[i] + (1 - lam[i]) * text[j]
        mixed_weight[i] = lam[i] * weight[i] + (1 - lam[i]) * weight[j]
    return mixed, mixed_weight


@pytest.mark.parametrize(
    "lam", [0.0, 0.25, 0.7, 1.0, [0.0, 1.0, 0.5, 0.2, 1.0, 0.9, 0.0], [1.0, 0.3, 0.0, 0.0, 0.0, 0.6, 1.0]]
)
def test_mixed_targets_equal_the_written_out_computation(lam):
    text, weight = _case()
    expected, expected_weight = _mix_reference(text, weight, np.broadcast_to(np.asarray(lam), (NUM_ROWS,)))
    mixed, mixed_weight = mix_targets(
        torch.from_numpy(text),
        torch.from_numpy(weight),
        torch.tensor(PARTNER),
        torch.tensor(lam, dtype=torch.float64) if isinstance(lam, list) else lam,
    )
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(mixed_weight.numpy(), expected_weight, atol=1e-14)


@pytest.mark.parametrize("lam", [0.3, [0.0, 1.0, 0.5, 0.2, 1.0, 0.9, 0.0]])
def test_several_texts_of_an_image_are_mixed_one_by_one(lam):
    texts, weight = np.stack([_case(seed)[0] for seed in range(3)], axis=1), _case()[1]
    texts[3] = np.nan  # no description
    lam = torch.tensor(lam, dtype=torch.float64) if isinstance(lam, list) else lam
    mixed, mixed_weight = mix_targets(torch.from_numpy(texts), torch.from_numpy(weight), torch.tensor(PARTNER), lam)
    assert mixed.shape == (NUM_ROWS, 3, DIM)
    for number in range(3):
        text = torch.from_numpy(texts[:, number].copy())
        expected, expected_weight = mix_targets(text, torch.from_numpy(weight), torch.tensor(PARTNER), lam)
        assert torch.equal(mixed[:, number], expected)
        assert torch.equal(mixed_weight, expected_weight)


def test_weights_are_mixed_alike_without_the_text():
    text, weight = (torch.from_numpy(x) for x in _case())
    lam = torch.tensor([1.0, 0.3, 0.0, 0.0, 0.0, 0.6, 1.0], dtype=torch.float64)
    _, expected = mix_targets(text, weight, torch.tensor(PARTNER), lam)
    assert torch.equal(mix_weights(weight, torch.tensor(PARTNER), lam), expected)
    assert mix_weights(weight.half(), torch.tensor(PARTNER), 0.5).dtype == torch.float32


def test_lam_of_one_leaves_a_row_as_it_is():
    text, weight = (torch.from_numpy(x) for x in _case())
    mixed, mixed_weight = mix_targets(text, weight, torch.tensor(PARTNER), 1.0)
    present = weight > 0
    torch.testing.assert_close(mixed[present], text[present])
    torch.testing.assert_close(mixed_weight, weight)


def test_one_side_without_description_leaves_none():
    text, weight = (torch.from_numpy(x) for x in _case())
    _, mixed_weight = mix_targets(text, weight, torch.tensor(PARTNER), 0.5)
    # rows 3 and 6 have none themselves, row 4's partner is 3
    assert (mixed_weight == 0).tolist() == [False, False, False, True, True, False, True]


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_rows_without_description_may_hold_anything(lam):
    text, weight = (torch.from_numpy(x) for x in _case())
    clean, clean_weight = mix_targets(text, weight, torch.tensor(PARTNER), lam)
    text[weight == 0] = float("nan")
    mixed, mixed_weight = mix_targets(text, weight, torch.tensor(PARTNER), lam)
    assert torch.equal(mixed, clean)
    assert torch.equal(mixed_weight, clean_weight)


def test_half_precision_vectors_are_mixed_in_float32():
    text, weight = (torch.from_numpy(x) for x in _case())
    mixed, mixed_weight = mix_targets(text.half(), weight.half(), torch.tensor(PARTNER), 0.3)
    expected, _ = mix_targets(text, weight, torch.tensor(PARTNER), 0.3)
    assert mixed.dtype == mixed_weight.dtype == torch.float32
    torch.testing.assert_close(mixed.double(), expected, rtol=0, atol=2e-3)


def test_normalized_targets_have_unit_length():
    text, _ = _case()
    scaled = torch.from_numpy(text * np.arange(NUM_ROWS)[:, None])
    expected = np.where(np.arange(NUM_ROWS)[:, None] > 0, text, 0)
    np.testing.assert_allclose(normalize_targets(scaled).numpy(), expected, atol=1e-14)
    assert normalize_targets(scaled.half()).dtype == torch.float32


def _correlated(num_rows: int = 500, dim: int = 6, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_rows, dim)) @ rng.normal(size=(dim, dim)) + 5 * rng.normal(size=dim)


def test_whitened_vectors_have_mean_zero_and_covariance_one():
    vectors = torch.from_numpy(_correlated())
    mean, matrix = fit_whitening(vectors, shrinkage=0.0)
    assert mean.dtype == matrix.dtype == torch.float32
    white = TargetTransform(mean, matrix, normalize=False)(vectors).numpy()
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(6), atol=1e-4)


def test_of_all_whitenings_this_one_keeps_the_vectors_nearest():
    # ZCA: the cross covariance of the centered and the white vectors is the symmetric square root of the covariance
    vectors = _correlated()
    mean, matrix = (x.double().numpy() for x in fit_whitening(torch.from_numpy(vectors), shrinkage=0.0))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert np.linalg.eigvalsh(matrix).min() > 0
    centered = vectors - mean
    root = centered.T @ (centered @ matrix) / len(vectors)
    np.testing.assert_allclose(root, root.T, atol=1e-4)
    np.testing.assert_allclose(root @ root, np.cov(vectors.T, bias=True), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [1, 37, 499, 500])
def test_chunks_give_the_moments_of_the_whole(size):
    vectors = _correlated()
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
    assert exact.diag()[1] == pytest.approx(1 / vectors[:, 1].std(), rel=1e-3)
    _, centering = fit_whitening(torch.from_numpy(vectors), shrinkage=1.0)
    torch.testing.assert_close(centering, torch.eye(3) * float(mean_variance**-0.5))


@pytest.mark.parametrize("vectors", [torch.ones(5, 3) / 3, torch.tensor([[1.0, 2.0], [float("nan"), 0.0]])])
def test_vectors_that_cannot_be_whitened_are_refused(vectors):
    with pytest.raises(ConfigError, match="text vectors that differ from one another and are finite"):
        fit_whitening(vectors)


def test_whitening_needs_vectors_and_a_shrinkage_in_range():
    with pytest.raises(ConfigError, match="no text vectors to whiten"):
        fit_whitening([])
    with pytest.raises(ConfigError, match=r"shrinkage of whitening is 1\.5"):
        fit_whitening(torch.rand(4, 2), shrinkage=1.5)


def test_the_transform_subtracts_multiplies_and_normalizes():
    text, _ = _case()
    mean, matrix = np.arange(DIM) / 10, np.arange(DIM * DIM).reshape(DIM, DIM) % 5 - 1.5
    expected = (text - mean) @ matrix  # not symmetric: the matrix stands to the right
    plain = TargetTransform(torch.from_numpy(mean), torch.from_numpy(matrix), normalize=False)
    np.testing.assert_allclose(plain(torch.from_numpy(text)).numpy(), expected, atol=1e-12)
    unit = TargetTransform(torch.from_numpy(mean), torch.from_numpy(matrix))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(unit(torch.from_numpy(text)).numpy(), expected, atol=1e-12)
    several = unit(torch.from_numpy(np.stack([text, 2 * text], axis=1)))
    np.testing.assert_allclose(several[:, 0].numpy(), expected, atol=1e-12)
    only_unit = TargetTransform()(torch.from_numpy(3 * text))
    np.testing.assert_allclose(only_unit.numpy(), text, atol=1e-12)
    assert torch.equal(TargetTransform(normalize=False)(torch.from_numpy(text)), torch.from_numpy(text))


def test_the_transform_is_computed_in_float32_whatever_autocast_says():
    text = torch.from_numpy(_correlated(dim=DIM)).float()
    transform = TargetTransform(*fit_whitening(text))
    expected = transform(text)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(transform(text), expected)
    assert transform(text.half()).dtype == torch.float32


def test_the_transform_is_saved_and_never_trained():
    transform = TargetTransform(*fit_whitening(torch.from_numpy(_correlated())))
    assert list(transform.parameters()) == []
    other = TargetTransform(torch.zeros(6), torch.zeros(6, 6))
    other.load_state_dict(transform.state_dict())
    text = torch.randn(3, 6)
    assert torch.equal(other(text), transform(text))
    assert list(TargetTransform(torch.zeros(6)).state_dict()) == ["mean"]


@pytest.mark.parametrize(
    ("mean", "matrix", "message"),
    [
        (torch.zeros(1, 4), None, r"mean of the text vectors has shape \(1, 4\)"),
        (torch.zeros(4), torch.zeros(4, 3), r"matrix has shape \(4, 3\); it must be \(4, 4\)"),
        (torch.zeros(4), torch.zeros(5, 5), r"must be \(4, 4\)"),
        (None, torch.zeros(5, 4), r"must be \(5, 5\)"),
    ],
)
def test_transforms_of_a_wrong_shape_are_refused(mean, matrix, message):
    with pytest.raises(ConfigError, match=message):
        TargetTransform(mean, matrix)


@pytest.mark.parametrize("size", [2, NUM_ROWS])
def test_class_means_are_means_of_unit_rows(size):
    text, _ = _case()
    label = np.array([0, 2, 2, 0, 2, 3, 0])
    expected = np.array([text[label == k].mean(axis=0) if k != 1 else np.zeros(DIM) for k in range(4)])
    scaled = torch.from_numpy(text * np.arange(1, NUM_ROWS + 1)[:, None])  # length must not count
    chunks = zip(scaled.split(size), torch.from_numpy(label).split(size), strict=True)
    means = class_means(chunks, 4)
    assert means.dtype == torch.float32
    np.testing.assert_allclose(means.numpy(), expected, atol=1e-6)


def test_shares_of_classes_weigh_the_class_means():
    text, _ = _case()
    lam = np.random.default_rng(3).random((NUM_ROWS, 3)) * [1, 1, 0]
    expected = np.stack([np.average(text, axis=0, weights=lam[:, k]) for k in (0, 1)])
    found = class_means([(torch.from_numpy(text[i : i + 3]), torch.from_numpy(lam[i : i + 3])) for i in (0, 3, 6)], 3)
    np.testing.assert_allclose(found[:2].numpy(), expected, atol=1e-6)
    assert found[2].tolist() == [0] * DIM
    with pytest.raises(ConfigError, match="no text vectors to take class means of"):
        class_means([], 3)
