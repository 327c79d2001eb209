"""Randomness as a function: every draw depends on names and numbers given here, never on what was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that is a function of `parts` alone, the same on every machine and Python version."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a numpy generator seeded by `parts` alone."""
    return np.random.default_rng(derive_seed(*parts))


@contextmanager
def torch_seeded(*parts: int | str) -> Iterator[None]:
    """Seed torch's CPU generator from `parts` inside the block and put its former state back afterwards."""
    import torch  # here: who only derives seeds needs no torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(derive_seed(*parts))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def epoch_order(seed: int, epoch: int, num_images: int) -> np.ndarray:
    """Return the order of an epoch: a permutation of range(num_images), int64, a function of (seed, epoch) alone."""
    return generator("order", seed, epoch).permutation(num_images)


def balanced_order(seed: int, epoch: int, probabilities: np.ndarray) -> np.ndarray:
    """Return N draws of N images, int64, a function of (seed, epoch) and the probabilities alone.

    Systematic resampling: an image of probability p comes floor(N p) or ceil(N p) times; then all are shuffled.

    Args:
        seed: seed of the run.
        epoch: from 0.
        probabilities: of each image, float64, shape (N,), sum 1.
    """
    draw = generator("order", seed, epoch)
    places = (draw.random() + np.arange(len(probabilities))) / len(probabilities)
    shuffled = draw.permutation(len(probabilities))  # neighbors in the set would share their luck otherwise
    chosen = np.searchsorted(np.cumsum(probabilities[shuffled]), places, side="right")
    drawn: np.ndarray = shuffled[np.minimum(chosen, len(probabilities) - 1)]
    return draw.permutation(drawn)
