"""Embedding sets made in a process of their own, on a disk that can be small."""

from __future__ import annotations

import resource
import sys

import sentence_transformers  # noqa: F401
import torch

from sightwords.errors import ArtifactError
from sightwords.text import encode, journal
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed as run


def embed(descriptions: str, encoder: str, out: str, batch_size: int = 2, largest_file: int = 10_000_000) -> None:
    """Embed in small blocks that are kept often; no file may have more than `largest_file` bytes."""
    torch.set_num_threads(1)
    encode.BLOCK, journal._COMMIT_EVERY_S = 75, 0.05
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    config = EmbedConfig(descriptions, out=out, encoder=encoder, batch_size=batch_size, precision="fp32", device="cpu")
    try:
        run(config)
    except ArtifactError as error:
        print(error, file=sys.stderr, flush=True)
