from __future__ import annotations

import numpy as np
import torch

from sightwords.descriptions.describers.hf_generation import RowSampler, gumbel_noise

CPU = torch.device("cpu")
WORD = 2**32


def test_samples_follow_the_softmax_at_the_temperature():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    num_draws = 5_000
    sampler = RowSampler([0.5] * num_draws, list(range(num_draws)), CPU)
    drawn = sampler(torch.zeros(num_draws, 1), logits.repeat(num_draws, 1)).argmax(1)
    shares = torch.bincount(drawn, minlength=4) / num_draws
    expected = torch.softmax(logits.double() / 0.5, 0)
    # four standard deviations of a binomial share
    assert torch.all((shares - expected).abs() < 4 * (expected * (1 - expected) / num_draws).sqrt() + 1e-4)


def test_a_row_does_not_depend_on_its_batch_and_greedy_rows_are_left_alone():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = RowSampler([0.0, 1.0, 1.0], [1, 2, 3], CPU)
    alone = RowSampler([1.0], [3], CPU)
    drawn = []
    for _ in range(600):  # more than the steps whose keys are drawn together
        rows = together(torch.zeros(3, 1), logits)
        assert torch.equal(rows[0], logits[0])
        assert torch.equal(rows[2], alone(torch.zeros(1, 1), logits[2:])[0])
        drawn.append(rows[1] - logits[1])
    assert len({tuple(row.tolist()) for row in drawn}) == 600


def test_a_token_that_is_ruled_out_is_never_drawn_and_does_not_make_greedy_rows_undefined():
    logits = torch.tensor([[0.0, -torch.inf, 1.0]]).repeat(2, 1)
    rows = RowSampler([0.0, 1.0], [1, 2], CPU)(torch.zeros(2, 1), logits)
    assert torch.equal(rows[0], logits[0])
    assert rows[1, 1] == -torch.inf
    assert not rows.isnan().any()


def test_the_noise_has_the_moments_and_the_independence_of_gumbel_noise():
    keys = torch.from_numpy(np.random.Philox(0).random_raw(40).view(np.int32).reshape(40, 2))
    noise = gumbel_noise(keys, 10_000)
    assert noise.isfinite().all()
    # mean is Euler's constant, variance pi^2 / 6; bounds are five standard errors of 400,000 draws
    assert abs(noise.mean() - 0.5772) < 5 * (1.645 / 400_000) ** 0.5
    assert abs(noise.var() - 1.6449) < 0.035
    along_rows = torch.corrcoef(noise)[~torch.eye(40, dtype=torch.bool)]
    neighbors = torch.corrcoef(torch.stack([noise[:, 1:].flatten(), noise[:, :-1].flatten()]))[0, 1]
    assert along_rows.abs().max() < 0.05
    assert abs(neighbors) < 0.01


def test_the_noise_is_the_same_on_every_machine():
    """Against the same hash in Python's unbounded integers: nothing rests on how a device's integers overflow."""
    keys = [(123456789, -987654321), (-(2**31), 2**31 - 1)]
    noise = gumbel_noise(torch.tensor(keys, dtype=torch.int32), 300)
    for row, (first, second) in enumerate(keys):
        for token in (0, 1, 42, 299):
            bits = (token + first) % WORD
            bits ^= bits >> 16
            bits = (bits * 0x21F0AAAD + second) % WORD
            bits ^= bits >> 15
            bits = bits * 0x735A2D97 % WORD
            bits ^= bits >> 15
            uniform = ((bits & 0x7FFFFFFF) + 0.5) / 2**31
            assert abs(noise[row, token].item() + np.log(-np.log1p(-uniform))) < 1e-5
