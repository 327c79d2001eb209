"""Models that lie on the Hugging Face hub or on disk: whether they can be had, and what identifies their weights."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sightwords.errors import ModelError

if TYPE_CHECKING:
    import torch


def require_hub(name: str, what: str, other_ways: str) -> None:
    """Fail at once where the hub has no model `name` or cannot be reached, instead of after minutes of retries.

    A model of which anything lies in the cache passes: its library knows best whether that is enough.

    Args:
        name: the model's name on the hub.
        what: what is loaded, in words.
        other_ways: what else the user can do.

    Raises:
        ModelError: the hub does not answer, or has no such model.
    """
    from huggingface_hub import HfApi, constants

    if (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return
    try:
        HfApi().model_info(name, timeout=10)
    except Exception as error:  # the hub's library has its own errors, and passes on those of its HTTP library
        raise cannot_load(what, error, other_ways) from None


def cannot_load(what: str, error: Exception, other_ways: str) -> ModelError:
    """Return the error to raise where a model cannot be fetched or loaded."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return ModelError(f"Cannot load {what}: {reason.rstrip('. ')}. {other_ways}")


def weights_hash(module: torch.nn.Module) -> str:
    """Return a SHA-256 of a module's parameters and buffers, by name and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def card_license(folder: Path | None) -> str | None:
    """Return the license that the model card in a folder names."""
    card = folder / "README.md" if folder else None
    if card is None or not card.is_file():
        return None
    head = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    front = re.search(r"\A---\n(.*?)\n---", head, re.DOTALL)
    named = dict(re.findall(r"^(license|license_name):[ ]*(\S+)", front.group(1), re.MULTILINE)) if front else {}
    # "other" says nothing by itself
    return named.get("license_name") if named.get("license") == "other" else named.get("license")
