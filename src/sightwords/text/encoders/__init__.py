"""Text encoders by their ID; each adapter file imports its library only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sightwords.errors import ModelError, UnknownNameError
from sightwords.hub import choose_device
from sightwords.text.encoders.encoder import Encoder, EncoderInfo, TokenEncoder, has_bf16

__all__ = [
    "KNOWN",
    "Encoder",
    "EncoderInfo",
    "TokenEncoder",
    "has_bf16",
    "open_encoder",
    "reopen_encoder",
]

KNOWN = ("builtin:minilm", "st:NAME_OR_FOLDER", "openclip:MODEL/TAG_OR_CHECKPOINT", "builtin:words")


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
        UnknownNameError: there is no encoder of this kind.
        ConfigError: the encoder cannot be had with these arguments.
        MissingExtraError: the encoder's library is not installed.
        ModelError: the encoder cannot be fetched or loaded.
    """
    kind, _, name = identifier.partition(":")
    if identifier == "builtin:minilm":
        from sightwords.text.encoders.st import open_minilm

        return open_minilm(choose_device(device), precision)
    if kind == "st" and name:
        from sightwords.text.encoders.st import open_sentence_transformer

        return open_sentence_transformer(name, choose_device(device), precision, identifier)
    if kind == "openclip" and name:
        from sightwords.text.encoders.openclip import OpenClipEncoder

        return OpenClipEncoder(name, choose_device(device), precision, identifier)
    if kind == "builtin":
        from sightwords.text.encoders.words import open_words

        if (words := open_words(identifier, precision, texts)) is not None:
            return words
    raise UnknownNameError("encoder", identifier, KNOWN, f"An encoder is one of {', '.join(KNOWN)}.")


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
        from sightwords.text.encoders.words import Vocabulary, WordsEncoder

        encoder = WordsEncoder(identifier, Vocabulary.from_meta(words))
    else:
        encoder = open_encoder(identifier, device)
    if encoder.info.revision != revision:
        raise ModelError(
            f"{identifier} has other weights ({encoder.info.revision[:12]}) than those that made the vectors "
            f"({revision[:12]}), so its vectors cannot be compared with them. Put the former ones back, or embed and "
            "train again."
        )
    return encoder
