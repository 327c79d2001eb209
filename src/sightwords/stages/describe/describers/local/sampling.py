"""Sampling in which every row of a batch has a temperature and a seed of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_STEPS = 256  # steps whose keys are drawn together, so that the token loop does nothing row by row


class RowSampler:
    """A logits processor that makes the argmax of each row a sample.

    The argmax of logits / T + g, with g independent standard Gumbel noise, is distributed as softmax(logits / T) (the
    Gumbel-max trick, Maddison et al., "A* Sampling", 2014, section 2). So greedy decoding does the sampling. The noise
    is a function of (seed, step, token) and not the state of a generator: an answer depends neither on the requests
    that share its batch nor on the device, and the whole batch is drawn in a few operations.

    Args:
        temperatures: temperature of each row, 0 for greedy.
        seeds: seed of each row.
        device: where the logits are.
    """

    def __init__(self, temperatures: Sequence[float], seeds: Sequence[int], device: torch.device) -> None:
        self._device = device
        self._inverse = _column([1 / t if t > 0 else 1.0 for t in temperatures], device)
        self._amount = _column([1.0 if t > 0 else 0.0 for t in temperatures], device)
        self._streams = [np.random.Philox(seed) for seed in seeds]
        self._keys = torch.empty(0)
        self._step = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores whose argmax is the next token of each row; greedy rows keep theirs.

        Args:
            input_ids: tokens so far, shape (B, L); not used.
            scores: logits, shape (B, V).
        """
        if self._step % _STEPS == 0:
            self._keys = self._draw_keys()
        keys = self._keys[self._step % _STEPS]
        self._step += 1
        noise = gumbel_noise(keys, scores.shape[1])
        return torch.addcmul(noise.mul_(self._amount), scores.float(), self._inverse)

    def _draw_keys(self) -> Tensor:
        """Return the keys of the next steps, int32, shape (steps, B, 2)."""
        words = np.stack([stream.random_raw(_STEPS) for stream in self._streams], axis=1)  # uint64, (steps, B)
        return torch.from_numpy(words.view(np.int32).reshape(_STEPS, len(self._streams), 2)).to(self._device)


def gumbel_noise(keys: Tensor, num_tokens: int) -> Tensor:
    """Return standard Gumbel noise, float32, shape (B, num_tokens), a function of the keys alone.

    Each number comes from hashing the token's number with its row's keys by a 32-bit xor-shift-multiply mixer (the
    constants of C. Wellons' hash-prospector, its best with two rounds); the second key enters between the rounds, so
    that rows whose first keys are close do not draw each other's numbers.

    Args:
        keys: int32, shape (B, 2).
        num_tokens: size of the vocabulary.
    """
    tokens = torch.arange(num_tokens, dtype=torch.int32, device=keys.device)
    bits = tokens + keys[:, :1]
    bits ^= (bits >> 16) & 0xFFFF  # int32 shifts keep the sign; the mask makes them logical ones
    bits *= 0x21F0AAAD
    bits += keys[:, 1:]
    bits ^= (bits >> 15) & 0x1FFFF
    bits *= 0x735A2D97
    bits ^= (bits >> 15) & 0x1FFFF
    # 31 bits to (0, 1), open at both ends in float32; -log1p(-u) is an exponential draw, -log of that a Gumbel draw
    uniform = bits.bitwise_and_(0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None]
