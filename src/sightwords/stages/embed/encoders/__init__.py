"""Text encoders by their ID; each adapter file imports its library only when it is asked for."""

from __future__ import annotations

from sightwords.errors import UnknownNameError
from sightwords.stages.embed.encoders.encoder import Encoder, EncoderInfo, TokenEncoder, choose_device, has_bf16

__all__ = ["KNOWN", "Encoder", "EncoderInfo", "TokenEncoder", "choose_device", "has_bf16", "open_encoder"]

KNOWN = ("builtin:minilm", "st:NAME_OR_FOLDER", "openclip:MODEL/TAG_OR_CHECKPOINT")


def open_encoder(identifier: str, device: str = "auto", precision: str = "fp32") -> Encoder:
    """Return the encoder of an ID.

    Args:
        identifier: `builtin:minilm`, `st:NAME_OR_FOLDER` or `openclip:MODEL/TAG_OR_CHECKPOINT`.
        device: `auto`, `cpu`, `cuda`, `mps` or as torch names it.
        precision: `fp32`, `bf16` or `fp16`.

    Raises:
        UnknownNameError: there is no encoder of this kind.
        MissingExtraError: the encoder's library is not installed.
        ModelError: the encoder cannot be fetched or loaded.
    """
    kind, _, name = identifier.partition(":")
    if identifier == "builtin:minilm":
        from sightwords.stages.embed.encoders.minilm import open_minilm

        return open_minilm(choose_device(device), precision)
    if kind == "st" and name:
        from sightwords.stages.embed.encoders.st import open_sentence_transformer

        return open_sentence_transformer(name, choose_device(device), precision, identifier)
    if kind == "openclip" and name:
        from sightwords.stages.embed.encoders.openclip import OpenClipEncoder

        return OpenClipEncoder(name, choose_device(device), precision, identifier)
    raise UnknownNameError("encoder", identifier, KNOWN, f"An encoder is one of {', '.join(KNOWN)}.")
