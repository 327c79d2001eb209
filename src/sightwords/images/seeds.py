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
