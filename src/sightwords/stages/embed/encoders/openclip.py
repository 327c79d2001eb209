"""`openclip:...`: the text tower of a CLIP-like model of open_clip.

`openclip:MODEL/TAG` takes published weights (`openclip:ViT-B-32/laion2b_s34b_b79k`), `openclip:MODEL/PATH` a local
checkpoint. The first slash ends the model's name, so an absolute path gives two (`openclip:ViT-B-32//home/me/my.pt`).
`openclip:local-dir:FOLDER` takes a folder with `open_clip_config.json` and weights, `openclip:hf-hub:ORG/NAME` the
same from the hub.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightwords.errors import ConfigError, MissingExtraError, UnknownNameError
from sightwords.stages.embed.encoders.encoder import (
    EncoderInfo,
    cannot_load,
    choose_precision,
    require_hub,
    weights_hash,
)

if TYPE_CHECKING:
    import torch

_SCHEMES = ("local-dir:", "hf-hub:")


class OpenClipEncoder:
    """The text tower of an open_clip model; the image tower is freed.

    Args:
        name: MODEL/TAG, MODEL/PATH, local-dir:FOLDER or hf-hub:ORG/NAME.
        device: where it runs.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        identifier: the ID on the command line.

    Raises:
        MissingExtraError: open_clip is not installed.
        UnknownNameError: there is no such model, or no such weights for it.
        ModelError: the weights cannot be fetched or loaded.
    """

    def __init__(self, name: str, device: torch.device, precision: str, identifier: str) -> None:
        chosen, dtype = choose_precision(precision, device)
        model, weights = _parse(name)
        self._tokenizer, self._model = _load(model, weights, identifier)
        self._model.visual = None
        revision = weights_hash(self._model)
        self._model.to(device=device, dtype=dtype).eval()
        self._device = device
        dimension = int(self.encode(["text"]).shape[1])
        limit = int(self._tokenizer.context_length)
        self._info = EncoderInfo(identifier, name, revision, dimension, limit, chosen)

    @property
    def info(self) -> EncoderInfo:
        """Which encoder this is."""
        return self._info

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""
        return _num_tokens(self._tokenizer, list(texts))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts within the token limit, float32, shape (N, D), of any length."""
        import torch

        tokens = self._tokenizer(list(texts)).to(self._device)
        with torch.inference_mode():
            return np.asarray(self._model.encode_text(tokens).float().cpu().numpy())


def _parse(name: str) -> tuple[str, str | None]:
    """Return open_clip's name of the model and its weights: a tag, a file, or None where the name is enough.

    Raises:
        ConfigError: one of the two is missing.
        UnknownNameError: there is no such model, or no such weights for it.
    """
    try:
        import open_clip
    except ImportError:
        raise MissingExtraError("open_clip_torch", "openclip") from None
    scheme = next((scheme for scheme in _SCHEMES if name.startswith(scheme)), None)
    if scheme:
        if scheme == "local-dir:" and not Path(name.removeprefix(scheme)).is_dir():
            raise ConfigError(f"openclip:{name} names no folder. It must hold open_clip_config.json and the weights.")
        return name, None
    model, _, weights = name.partition("/")
    if model not in open_clip.list_models():
        raise UnknownNameError("open_clip model", model, open_clip.list_models(), "Or use openclip:local-dir:FOLDER.")
    if not weights or not (open_clip.get_pretrained_cfg(model, weights) or Path(weights).is_file()):
        raise UnknownNameError(
            f"weights of {model}",
            weights,
            open_clip.list_pretrained_tags_by_model(model) or ["(none published)"],
            f"Or give a checkpoint file: openclip:{model}/relative/path.pt or openclip:{model}//absolute/path.pt.",
        )
    return model, weights


def _load(model: str, weights: str | None, identifier: str) -> tuple[Any, Any]:
    """Return the tokenizer and the model on the CPU in float32."""
    import open_clip

    if repository := _hub_repository(model, weights):
        require_hub(repository, identifier)
    with _no_warnings():
        try:
            tokenizer = open_clip.get_tokenizer(model)
            # a model without its weights would give vectors that mean nothing
            network = open_clip.create_model(model, pretrained=weights, device="cpu", require_pretrained=True)
        except Exception as error:  # a model's files can be wrong in any way; the library has no error of its own
            raise cannot_load(identifier, error) from None
    return tokenizer, network


def _hub_repository(model: str, weights: str | None) -> str | None:
    import open_clip

    if weights is None:
        return model.removeprefix("hf-hub:") if model.startswith("hf-hub:") else None
    published = open_clip.get_pretrained_cfg(model, weights)
    return str(published.get("hf_hub") or "").strip("/") or None


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence the root logger, to which open_clip writes what is also in its errors."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)


def _num_tokens(tokenizer: Any, texts: list[str]) -> list[int]:
    if hasattr(tokenizer, "encode"):  # CLIP's own; it adds a start and an end
        return [len(tokenizer.encode(text)) + 2 for text in texts]
    clips = getattr(tokenizer, "tokenizer_mode", "") == "clips"  # adds a start, an end and a class token by itself
    encoded = tokenizer.tokenizer(
        [_clean(tokenizer, text) for text in texts],
        add_special_tokens=not clips,
        padding=False,
        truncation=False,
        verbose=False,
    )
    return [len(ids) + 3 * clips for ids in encoded["input_ids"]]


def _clean(tokenizer: Any, text: str) -> str:
    if hasattr(tokenizer, "clean_fn"):
        return str(tokenizer.clean_fn(text))
    from open_clip.tokenizer import basic_clean, canonicalize_text  # what SigLipTokenizer does before it tokenizes

    return str(canonicalize_text(basic_clean(text)))
