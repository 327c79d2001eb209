"""Text encoders by their ID; each file imports its library only when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from sightwords.errors import ModelError, UnknownNameError
from sightwords.text.encoders.encoder import Encoder, EncoderInfo, TokenEncoder, has_bf16

__all__ = ["ENCODERS", "Encoder", "EncoderInfo", "TokenEncoder", "has_bf16", "open_encoder", "reopen_encoder"]

ENCODERS = {
    "builtin:minilm": "sightwords.text.encoders.st:open_minilm",
    "builtin:words[-N]": "sightwords.text.encoders.words:open_words",
    "st:NAME_OR_FOLDER": "sightwords.text.encoders.st:open_st",
    "openclip:MODEL/TAG_OR_CHECKPOINT": "sightwords.text.encoders.openclip:open_openclip",
}
"""How an ID is written, and the function that opens it: (ID, device, precision, texts) -> encoder, None for another ID.

What is in small letters is the beginning of the ID."""


def open_encoder(
    identifier: str, device: str = "auto", precision: str = "fp32", texts: Sequence[str] | None = None
) -> Encoder:
    """Return the encoder of an ID.

    Args:
        identifier: `builtin:minilm`, `st:NAME_OR_FOLDER`, `openclip:MODEL/TAG_OR_CHECKPOINT`, `builtin:words` or
            `builtin:words-N`.
        device: `auto`, `cpu`, `cuda`, `mps` or as torch names it.
        precision: `fp32`, `bf16` or `fp16`.
        texts: the distinct texts that are to be encoded, for an encoder that is made of them.

    Raises:
        UnknownNameError: there is no encoder of this ID.
        ConfigError: the encoder cannot be had with these arguments.
        MissingExtraError: the encoder's library is not installed.
        ModelError: the encoder cannot be fetched or loaded.
    """
    from sightwords.hub import choose_device

    for usage, target in ENCODERS.items():
        if identifier.startswith(re.split("[^a-z:]", usage)[0]):
            module, _, name = target.partition(":")
            encoder: Encoder | None = getattr(import_module(module), name)(
                identifier, choose_device(device), precision, texts
            )
            if encoder is not None:
                return encoder
    raise UnknownNameError("encoder", identifier, list(ENCODERS), f"An encoder is one of {', '.join(ENCODERS)}.")


def reopen_encoder(
    identifier: str, revision: str, words: Mapping[str, Any] | None = None, device: str = "auto"
) -> Encoder:
    """Return the encoder that made the vectors of an embedding set, for texts that come later.

    Args:
        identifier: its ID.
        revision: which weights of it.
        words: of `builtin:words` its vocabulary, as `meta.json` of the set has it.
        device: `auto`, `cpu`, `cuda`, `mps` or as torch names it.

    Raises:
        ModelError: what the ID names today has other weights.
        UnknownNameError, ConfigError, MissingExtraError: as `open_encoder`.
    """
    encoder: Encoder
    if words is not None:
        from sightwords.text.encoders.words import WordCounts, WordsEncoder

        encoder = WordsEncoder(identifier, WordCounts(**words))
    else:
        encoder = open_encoder(identifier, device)
    if encoder.info.revision != revision:
        raise ModelError(
            f"{identifier} has other weights ({encoder.info.revision[:12]}) than those that made the vectors "
            f"({revision[:12]}), so its vectors cannot be compared with them. Put those weights back, or embed and "
            "train again."
        )
    return encoder
