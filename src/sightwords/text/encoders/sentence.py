"""Models of sentence-transformers as encoders: as the library runs them, or without padding where that is known."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sightwords.text.encoders.encoder import EncoderInfo, number_type

if TYPE_CHECKING:
    from sightwords.text.encoders.packed import PackedTransformer

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


class SentenceTransformerEncoder:
    """A model of sentence-transformers as the library runs it.

    Args:
        model: the loaded model, in the arithmetic that `info` names.
        info: which encoder this is.
    """

    def __init__(self, model: Any, info: EncoderInfo) -> None:
        self.model, self._info = model, info
        self._prefix = default_prompt(model)

    @property
    def info(self) -> EncoderInfo:
        """Which encoder this is."""
        return self._info

    @property
    def has_prefix(self) -> bool:
        """Whether the model puts a prompt of its own before every text."""
        return bool(self._prefix)

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""
        return [len(tokens) for tokens in self.tokenize_plainly(texts)]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts within the token limit, float32, shape (N, D), of any length."""
        vectors = self.model.encode(list(texts), batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False)
        return np.asarray(vectors.float().cpu().numpy())

    def cast(self, precision: str) -> SentenceTransformerEncoder:
        """Return the same encoder with other arithmetic: `fp32`, `bf16` or `fp16`; this one stays as it is."""
        other = copy.deepcopy(self.model).to(number_type(precision))
        return SentenceTransformerEncoder(other, replace(self._info, precision=precision))

    def tokenize_plainly(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones included, nothing cut."""
        tokenizer = self.model.tokenizer
        prefixed = [self._prefix + text for text in texts]
        if hasattr(tokenizer, "encode_batch"):  # of the tokenizers library, in static embeddings
            return [encoding.ids for encoding in tokenizer.encode_batch(prefixed, add_special_tokens=False)]
        encoded = tokenizer(
            prefixed,
            add_special_tokens=True,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return list(encoded["input_ids"])


class PackedEncoder:
    """A model of sentence-transformers whose network runs without padding.

    Args:
        library: the same model as the library runs it; its tokenizer is used.
        info: which encoder this is, in the arithmetic of `network`.
        network: the transformer and its pooling.
    """

    def __init__(self, library: SentenceTransformerEncoder, info: EncoderInfo, network: PackedTransformer) -> None:
        self.library, self._info, self._network = library, info, network

    @property
    def info(self) -> EncoderInfo:
        """Which encoder this is."""
        return self._info

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens the network sees of each text if nothing is cut, special ones included."""
        return self.library.num_tokens(texts)

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the tokens of each text as the network sees them, int32, special ones included, nothing cut."""
        return [np.array(tokens, np.int32) for tokens in self.library.tokenize_plainly(texts)]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of texts within the token limit, float32, shape (N, D), of any length."""
        return self.encode_tokens(self.tokenize(texts))

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        """Return the vectors of tokenized texts within the token limit, float32, shape (N, D), of any length."""
        order = np.argsort([-len(one) for one in tokens], kind="stable")
        vectors = np.empty((len(tokens), self._info.dimension), np.float32)
        vectors[order] = self._network([tokens[i] for i in order]).float().cpu().numpy()
        return vectors

    def cast(self, precision: str) -> PackedEncoder:
        """Return the same encoder with other arithmetic: `fp32`, `bf16` or `fp16`; this one stays as it is."""
        network = _packed_network(self.library, precision)
        return PackedEncoder(self.library, replace(self._info, precision=precision), network)


def packed_encoder(library: SentenceTransformerEncoder) -> PackedEncoder | None:
    """Return the encoder without padding, or None where the model is of another kind or gives other vectors so."""
    try:
        packed = PackedEncoder(library, library.info, _packed_network(library, "fp32"))
    except (AttributeError, ValueError, RuntimeError):  # a model whose parts have other names or shapes
        return None
    limit = library.info.max_tokens or len(_PROBES[0])
    probes = [text for text, count in zip(_PROBES, library.num_tokens(_PROBES), strict=True) if 0 < count <= limit]
    if len(probes) < _FEWEST_PROBES:
        return None
    expected, found = library.encode(probes).astype(np.float64), packed.encode(probes).astype(np.float64)
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
    return packed if bool(((expected * found).sum(1) >= _SAME * lengths).all()) else None


def _packed_network(library: SentenceTransformerEncoder, precision: str) -> PackedTransformer:
    """Return the network of a Transformer with Pooling, with or without Normalize.

    Raises:
        AttributeError: the parts of its transformer have other names than BERT's.
        ValueError: it has other modules, or a transformer or pooling of another kind.
    """
    from sightwords.text.encoders.packed import PackedTransformer

    kinds = [type(module).__name__ for module in library.model]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ValueError(f"modules {kinds} are not known")
    transformer, pooling = library.model[0], library.model[1]
    if not getattr(pooling, "include_prompt", True) and library.has_prefix:
        raise ValueError("the pooling leaves the prompt out")
    mode = pooling.pooling_mode if hasattr(pooling, "pooling_mode") else pooling.get_pooling_mode_str()
    return PackedTransformer(transformer.auto_model, mode, number_type(precision))


def default_prompt(model: Any) -> str:
    """Return what the model puts before every text; it counts towards the limit."""
    name = getattr(model, "default_prompt_name", None)
    return str(model.prompts.get(name) or "") if name else ""
