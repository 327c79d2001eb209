"""The check that an exported file is the stock network: it loads strictly, and its outputs are equal bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sightwords.errors import ArtefactError


def stock_network(library: str, name: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Return the library's own untrained network, made by the library's own factory."""
    if library == "timm":
        import timm

        network: nn.Module = timm.create_model(name, **kwargs)
        return network
    import torchvision

    made: nn.Module = torchvision.models.get_model(name, **kwargs)
    return made


@torch.inference_mode()
def verify(file: Path, stock: nn.Module, trained: nn.Module, images_BCHW: Tensor) -> None:
    """Load `file` strictly into `stock` and compare its outputs with `trained`, both in eval mode.

    Raises:
        ArtefactError: a name or shape differs, or an output differs in any bit.
    """
    try:
        stock.load_state_dict(load_file(file), strict=True)
    except (RuntimeError, ValueError) as error:
        raise ArtefactError(f"{file} does not load into the stock network: {error}") from None
    expected, got = trained.eval()(images_BCHW), stock.eval()(images_BCHW)
    if not torch.equal(expected, got):
        difference = (expected - got).abs().max().item()
        raise ArtefactError(f"The network loaded from {file} answers otherwise: largest difference {difference:g}.")
