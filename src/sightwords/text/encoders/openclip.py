"""`openclip:...`: the text tower of a CLIP-like model; `sightwords/hub.py` says what may follow the colon."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sightwords.hub import load_clip, weights_hash
from sightwords.text.encoders.encoder import OTHER_WAYS, Encoder, EncoderInfo, number_type

if TYPE_CHECKING:
    import torch


def open_openclip(identifier: str, device: torch.device, precision: str, texts: Sequence[str] | None) -> Encoder | None:
    """Return the text tower of a model, None without a name; the arguments are those of `open_encoder`.

    Raises:
        MissingExtraError: open_clip is not installed.
        UnknownNameError: there is no such model, or no such weights for it.
        ModelError: the weights cannot be fetched or loaded.
    """
    name = identifier.removeprefix("openclip:")
    return _TextTower(name, device, precision, identifier) if name else None


class _TextTower:
    """The text tower of an open_clip model; the image tower is freed."""

    def __init__(self, name: str, device: torch.device, precision: str, identifier: str) -> None:
        clip = load_clip(name, f"the encoder {identifier}", OTHER_WAYS)
        self._tokenizer, self._model = clip.tokenizer, clip.model
        self._model.visual = None
        revision = weights_hash(self._model)
        self._model.to(device=device, dtype=number_type(precision)).eval()
        self._device = device
        dimension = int(self.encode(["text"]).shape[1])
        limit = int(self._tokenizer.context_length)
        self.info = EncoderInfo(identifier, name, revision, dimension, limit, precision, device=device.type)

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        return _num_tokens(self._tokenizer, list(texts))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        import torch

        tokens = self._tokenizer(list(texts)).to(self._device)
        with torch.inference_mode():
            return np.asarray(self._model.encode_text(tokens).float().cpu().numpy())

    def cast(self, precision: str) -> _TextTower:
        if precision == self.info.precision:
            return self
        other = copy.copy(self)
        other._model = copy.deepcopy(self._model).to(number_type(precision))
        other.info = replace(self.info, precision=precision)
        return other


def _num_tokens(tokenizer: Any, texts: list[str]) -> list[int]:
    if hasattr(tokenizer, "encode"):  # CLIP's own; it adds a start and an end
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    clips = getattr(tokenizer, "tokenizer_mode", "") == "clips"  # adds a start, an end and a class token by itself
    clean = getattr(tokenizer, "clean_fn", None) or _clean_for_siglip
    encoded = tokenizer.tokenizer([clean(text) for text in texts], add_special_tokens=not clips, verbose=False)
    return [len(ids) + 3 * clips for ids in encoded["input_ids"]]


def _clean_for_siglip(text: str) -> str:
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return str(canonicalize_text(basic_clean(text)))
