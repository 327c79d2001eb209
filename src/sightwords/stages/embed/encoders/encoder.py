"""What the stage asks of a text encoder, and what encoders share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sightwords.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import torch

OTHER_WAYS = "Give a local folder or checkpoint instead, or use --encoder builtin:minilm, which needs no network."
_HASHED_SUFFIXES = {".json", ".txt", ".model", ".safetensors", ".bin"}
_OTHER_FORMATS = {"onnx", "openvino", ".git"}  # copies of the weights that are not loaded here


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
        licence: of the weights, where known.
    """

    identifier: str
    model: str
    revision: str
    dimension: int
    max_tokens: int | None
    precision: str
    licence: str | None = None


class Encoder(Protocol):
    """A frozen text encoder."""

    @property
    def info(self) -> EncoderInfo:
        """Which encoder this is."""

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts within the token limit, float32, shape (N, D), of any length."""


def choose_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is the first GPU, or the CPU where there is none.

    Raises:
        ConfigError: there is no such device.
    """
    import torch

    if name == "auto":
        gpu = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
        return torch.device(gpu or "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"--device is {name}, which cannot be used here: {reason}. Allowed: auto, cpu, ...") from None
    return device


def choose_precision(name: str, device: torch.device) -> tuple[str, torch.dtype]:
    """Return the precision's name and number type; `auto` is bf16 on GPUs that have it and fp32 elsewhere."""
    import torch

    if name == "auto":
        name = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return name, {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def require_hub(name: str, identifier: str) -> None:
    """Fail at once where the hub has no model `name` or cannot be reached, instead of after minutes of retries.

    A model of which anything lies in the cache passes: its library knows best whether that is enough.

    Raises:
        ModelError: the hub does not answer, or has no such model.
    """
    from huggingface_hub import HfApi, constants

    if (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return
    try:
        HfApi().model_info(name, timeout=10)
    except Exception as error:  # the hub's library has its own errors, and passes on those of its HTTP library
        raise cannot_load(identifier, error) from None


def cannot_load(identifier: str, error: Exception) -> ModelError:
    """Return the error to raise where an encoder cannot be fetched or loaded."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return ModelError(f"Cannot load the encoder {identifier}: {reason.rstrip('. ')}. {OTHER_WAYS}")


def folder_hash(folder: Path) -> str:
    """Return a SHA-256 of the weights, tokenizer and settings in a model's folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.suffix.lower() in _HASHED_SUFFIXES and path.is_file() and not _OTHER_FORMATS & set(relative.parts):
            with path.open("rb") as file:
                digest.update(f"{relative.as_posix()}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def weights_hash(module: torch.nn.Module) -> str:
    """Return a SHA-256 of a module's parameters and buffers, by name and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
