from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.align import mix_targets, normalize_targets

NUM_ROWS, DIM = 7, 4
PARTNER = [1, 0, 2, 6, 3, 4, 5]


def _case(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(NUM_ROWS, DIM))
    return text / np.linalg.norm(text, axis=1, keepdims=True), np.array([1.0, 1.0, 0.5, 0.0, 2.0, 1.0, 0.0])


def _mix_reference(text: np.ndarray, weight: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mixed, mixed_weight = np.zeros_like(text), np.zeros_like(weight)
    for i, j in enumerate(PARTNER):
        if (share[i] > 0 and weight[i] == 0) or (share[i] < 1 and weight[j] == 0):
            continue
        vector = share[i] * text[i] + (1 - share[i]) * text[j]
        mixed[i] = vector / np.linalg.norm(vector)
        mixed_weight[i] = share[i] * weight[i] + (1 - share[i]) * weight[j]
    return mixed, mixed_weight


@pytest.mark.parametrize(
    "share", [0.0, 0.25, 0.7, 1.0, [0.0, 1.0, 0.5, 0.2, 1.0, 0.9, 0.0], [1.0, 0.3, 0.0, 0.0, 0.0, 0.6, 1.0]]
)
def test_mixed_targets_equal_the_written_out_computation(share):
    text, weight = _case()
    expected, expected_weight = _mix_reference(text, weight, np.broadcast_to(np.asarray(share), (NUM_ROWS,)))
    mixed, mixed_weight = mix_targets(
        torch.from_numpy(text),
        torch.from_numpy(weight),
        torch.tensor(PARTNER),
        torch.tensor(share, dtype=torch.float64) if isinstance(share, list) else share,
    )
    np.testing.assert_allclose(mixed.numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(mixed_weight.numpy(), expected_weight, atol=1e-14)


def test_a_share_of_one_leaves_a_row_as_it_is():
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


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_rows_without_description_may_hold_anything(share):
    text, weight = (torch.from_numpy(x) for x in _case())
    clean, clean_weight = mix_targets(text, weight, torch.tensor(PARTNER), share)
    text[weight == 0] = float("nan")
    mixed, mixed_weight = mix_targets(text, weight, torch.tensor(PARTNER), share)
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
