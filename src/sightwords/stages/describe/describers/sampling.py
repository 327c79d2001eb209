"""Sampling in which every row of a batch has a temperature and a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class RowSampler:
    """A logits processor that makes the argmax of each row a sample.

    The argmax of logits / T + g, with g independent standard Gumbel noise, is distributed as softmax(logits / T) (the
    Gumbel-max trick, Maddison et al., "A* Sampling", 2014, section 2). So greedy decoding does the sampling, and the
    answer to a request does not depend on which others share its batch.

    Args:
        temperatures: temperature of each row, 0 for greedy.
        seeds: seed of each row.
        device: where the logits are.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], device: torch.device) -> None:
        self._temperatures = temperatures
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores whose argmax is the next token of each row.

        Args:
            input_ids: tokens so far, shape (B, L); not used.
            scores: logits, shape (B, V).
        """
        if not any(self._temperatures):
            return scores
        scores = scores.clone()
        for row, (temperature, generator) in enumerate(zip(self._temperatures, self._generators, strict=True)):
            if temperature > 0:
                noise = torch.empty_like(scores[row], dtype=torch.float32).exponential_(generator=generator)
                scores[row] = scores[row] / temperature - noise.log()  # -log of an exponential draw is a Gumbel draw
        return scores
