"""`st:NAME_OR_FOLDER`: any text model of sentence-transformers, from the hub or a local folder."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightwords.errors import MissingExtraError
from sightwords.stages.embed.encoders.encoder import (
    EncoderInfo,
    cannot_load,
    choose_precision,
    folder_hash,
    require_hub,
    weights_hash,
)

if TYPE_CHECKING:
    import torch

_NO_LIMIT = 1_000_000  # tokenizers write "no limit" as a number beyond any model


class SentenceTransformerEncoder:
    """A model of sentence-transformers.

    Args:
        name: name on the hub, or a local folder.
        device: where it runs.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        identifier: the ID on the command line.
        model: the model's own name; none is `name`.
        licence: of the weights; none is looked up in the folder's model card.
        extra: extra of sightwords that installs the library.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: the model cannot be fetched or loaded.
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        precision: str,
        identifier: str,
        model: str | None = None,
        licence: str | None = None,
        extra: str = "st",
    ) -> None:
        chosen, dtype = choose_precision(precision, device)
        self._model = _load(name, device, identifier, extra)
        home = _home(name)
        revision = _revision(self._model, name, home)
        self._model.to(dtype).eval()
        self._prefix = _default_prompt(self._model)
        dimension = int(self.encode(["text"]).shape[1])
        licence = licence or _licence(home)
        self._info = EncoderInfo(
            identifier, model or name, revision, dimension, _max_tokens(self._model), chosen, licence
        )

    @property
    def info(self) -> EncoderInfo:
        """Which encoder this is."""
        return self._info

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""
        tokenizer = self._model.tokenizer
        prefixed = [self._prefix + text for text in texts]
        if hasattr(tokenizer, "encode_batch"):  # of the tokenizers library, in static embeddings
            return [len(encoding.ids) for encoding in tokenizer.encode_batch(prefixed, add_special_tokens=False)]
        encoded = tokenizer(prefixed, add_special_tokens=True, truncation=False, padding=False, verbose=False)
        return [len(ids) for ids in encoded["input_ids"]]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts within the token limit, float32, shape (N, D), of any length."""
        vectors = self._model.encode(
            list(texts), batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False
        )
        return np.asarray(vectors.float().cpu().numpy())


def _load(name: str, device: torch.device, identifier: str, extra: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtraError("sentence-transformers", extra) from None
    if Path(name).is_dir():
        return _loaded(SentenceTransformer, name, device, identifier, local_files_only=True)
    try:  # what lies in the cache needs no network
        return SentenceTransformer(name, device=str(device), local_files_only=True)
    except Exception:  # not there, or not complete
        if "/" in name:
            require_hub(name, identifier)
        return _loaded(SentenceTransformer, name, device, identifier)


def _loaded(make: Any, name: str, device: torch.device, identifier: str, **options: Any) -> Any:
    try:
        return make(name, device=str(device), **options)
    except Exception as error:  # a model's files can be wrong in any way; the library has no error of its own
        raise cannot_load(identifier, error) from None


def _home(name: str) -> Path | None:
    """Return the folder that a model was loaded from: its own, or the hub's snapshot of one commit in the cache."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        return Path(name)
    for repository in (name, f"sentence-transformers/{name}"):  # the library's own models go without its name
        for file in ("modules.json", "config.json"):
            found = try_to_load_from_cache(repository, file) if repository.count("/") <= 1 else None
            if isinstance(found, str):
                return Path(found).parent
    return None


def _revision(model: Any, name: str, home: Path | None) -> str:
    """Return the commit of a model of the hub, or a hash of the contents."""
    if home is None:
        return weights_hash(model)
    return folder_hash(home) if Path(name).is_dir() else home.name


def _max_tokens(model: Any) -> int | None:
    limit = model.max_seq_length
    return None if limit is None or not math.isfinite(limit) or limit > _NO_LIMIT else int(limit)


def _default_prompt(model: Any) -> str:
    """Return what the model puts before every text; it counts towards the limit."""
    name = getattr(model, "default_prompt_name", None)
    return str(model.prompts.get(name) or "") if name else ""


def _licence(folder: Path | None) -> str | None:
    """Return the licence that the model card in a folder names."""
    card = folder / "README.md" if folder else None
    if card is None or not card.is_file():
        return None
    head = card.read_text(encoding="utf-8", errors="replace")[:20_000]
    named = re.search(r"\A---\n(?:.*\n)*?license:[ ]*(\S+)", head)
    return named.group(1) if named else None
