"""What embedding asks of a text encoder, and what encoders share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import torch

OTHER_WAYS = "Give a local folder or checkpoint instead, or use --encoder builtin:minilm, which needs no network."


@dataclass(frozen=True)
class EncoderInfo:
    """Which encoder made the vectors.

    Attributes:
        identifier: the ID on the command line.
        model: the model's own name.
        revision: commit of the model, or a hash of its contents.
        dimension: width D of the vectors.
        max_tokens: tokens that a text may have, special ones included; None where there is no limit.
        precision: arithmetic: `fp32`, `bf16` or `fp16`.
        license: of the weights, where known.
        device: kind of the device: `cpu`, `cuda`, `mps`.
        details: what else a reader of the vectors needs, JSON values; `meta.json` has them too.
    """

    identifier: str
    model: str
    revision: str
    dimension: int
    max_tokens: int | None
    precision: str
    license: str | None = None
    device: str = "cpu"
    details: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Encoder(Protocol):
    """A frozen text encoder."""

    @property
    def info(self) -> EncoderInfo:
        """Which encoder this is."""

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts within the token limit, float32, shape (N, D), of any length."""

    def cast(self, precision: str) -> Encoder:
        """Return the same encoder with other arithmetic: `fp32`, `bf16` or `fp16`; itself where it has no choice."""


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """An encoder that takes tokens; several threads at once may call `encode_tokens`, one at a time `tokenize`."""

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text as the network sees them, int32, special ones included, nothing cut."""

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        """Return the vectors of N texts given as `tokens` within the limit, float32, shape (N, D), of any length."""


def number_type(precision: str) -> torch.dtype:
    """Return torch's number type of `fp32`, `bf16` or `fp16`."""
    import torch

    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def has_bf16(device: str) -> bool:
    """Return whether a kind of device computes with bf16 itself; without such instructions bf16 is emulated and slow.

    Args:
        device: `cpu`, `cuda` or `mps`.
    """
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))
