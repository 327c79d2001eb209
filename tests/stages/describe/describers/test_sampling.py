from __future__ import annotations

import torch

from sightwords.stages.describe.describers.sampling import RowSampler

CPU = torch.device("cpu")


def test_samples_follow_the_softmax_at_the_temperature():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    num_draws = 20_000
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
    for _ in range(4):
        rows = together(torch.zeros(3, 1), logits)
        assert torch.equal(rows[0], logits[0])
        assert torch.equal(rows[2], alone(torch.zeros(1, 1), logits[2:])[0])
        assert not torch.equal(rows[1], logits[1])
