"""`builtin:words`: which words a text has, weighted by how rare they are among the texts of the set; no network.

The labels of SuperClass (arXiv 2411.03313), with words in place of its subwords: the vector of a text has a number for
each word of a vocabulary, 0 where the text does not have it, else the word's inverse document frequency. There is no
list of stop words: what nearly all texts have weighs next to nothing. The vocabulary is made of the texts that are
encoded, so two embedding sets have the same columns only if their texts are the same.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sightwords.errors import ConfigError
from sightwords.text.encoders.encoder import Encoder, EncoderInfo

NO_WORD = ""  # the vocabulary's entry for texts that have none of its words: every vector has a direction
_NUM_WORDS = 4096
_IDENTIFIER = re.compile(r"builtin:words(?:-([1-9][0-9]{0,6}))?")
# a kana or an ideograph is a word of its own: no space parts it from the next one
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
_DEFINITION = (
    "A row is the unit vector along idf * [text has word], in the order of the vocabulary, with "
    "idf = log((1 + num_texts) / (1 + num_texts_with_word)). The word '' stands for: none of the others. "
    "Words are runs of letters and digits, lower case, after NFKC."
)


@dataclass(frozen=True)
class WordCounts:
    """The words that have a column, as `words` in `meta.json` of an embedding set says.

    Attributes:
        vocabulary: V words, the most frequent first; `NO_WORD` last where there are texts without any of them.
        num_texts_with_word: texts that have it, for each word.
        num_texts: all texts.
        definition: what a row of the set is.
    """

    vocabulary: list[str]
    num_texts_with_word: list[int]
    num_texts: int
    definition: str = _DEFINITION


def open_words(identifier: str, device: object, precision: str, texts: Sequence[str] | None) -> Encoder | None:
    """Return the encoder that is made of some texts, None where the ID is not `builtin:words` or `builtin:words-N`.

    N is the largest number of words; the arguments are those of `open_encoder`.

    Raises:
        ConfigError: there are no texts, the precision is another one, or no word is worth a column.
    """
    match = _IDENTIFIER.fullmatch(identifier)
    if match is None:
        return None
    if texts is None:
        raise ConfigError(f"{identifier} is made of all texts at once. Use --engine local.")
    if precision != "fp32":
        raise ConfigError(f"--precision is {precision}, but {identifier} computes nothing. Leave --precision out.")
    return WordsEncoder(identifier, count_words(texts, int(match[1] or _NUM_WORDS)))


def words_of(text: str) -> set[str]:
    """Return the distinct words of a text: runs of letters and digits in lower case; a kana or an ideograph is one."""
    return set(_WORD.findall(unicodedata.normalize("NFKC", text).lower()))


def count_words(texts: Sequence[str], num_words: int) -> WordCounts:
    """Return the words that most texts have.

    A word that only one text has says nothing of others, and one that all have parts none; both are left out. The
    order of the texts does not matter.

    Args:
        texts: distinct texts.
        num_words: most words, `NO_WORD` not counted.

    Raises:
        ConfigError: no word is left.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words_of(text))
    useful = (word for word, count in counts.items() if 1 < count < len(texts))
    words = sorted(useful, key=lambda word: (-counts[word], word))[:num_words]
    if not words:
        raise ConfigError(
            f"None of the words of {len(texts)} distinct texts is in at least two of them and not in all, so "
            "builtin:words has nothing to count. Describe more images, or use another encoder."
        )
    known = set(words)
    num_without = sum(known.isdisjoint(words_of(text)) for text in texts)
    rest = [(NO_WORD, num_without)] if num_without else []
    named = [(word, counts[word]) for word in words] + rest
    return WordCounts([word for word, _ in named], [count for _, count in named], len(texts))


class WordsEncoder:
    """Words of a vocabulary, weighted; a `TokenEncoder` whose tokens are the columns of a text's words.

    Args:
        identifier: the ID on the command line.
        words: the words and how many texts have them.
    """

    def __init__(self, identifier: str, words: WordCounts) -> None:
        self._columns = {word: column for column, word in enumerate(words.vocabulary)}
        counts = np.array(words.num_texts_with_word, np.float64)
        self._idf = np.log((1 + words.num_texts) / (1 + counts)).astype(np.float32)
        meta = asdict(words)
        revision = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
        self.info = EncoderInfo(identifier, "words", revision, len(self._idf), None, "fp32", details={"words": meta})

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many different words of the vocabulary each text has, `NO_WORD` included."""
        return [len(columns) for columns in self._found(texts)]

    def tokenize(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the columns of each text's words, rising, int32."""
        return [np.array(columns, np.int32) for columns in self._found(texts)]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the weights of each text's words, 0 or more, float32, shape (N, V)."""
        return self.encode_tokens(self.tokenize(texts))

    def encode_tokens(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        """Return the weights of N texts given as `tokens`, the columns of each, float32, shape (N, V)."""
        vectors = np.zeros((len(tokens), len(self._idf)), np.float32)
        for vector, columns in zip(vectors, tokens, strict=True):
            vector[columns] = self._idf[columns]
        return vectors

    def cast(self, precision: str) -> Encoder:
        """Return this encoder: nothing is computed that other arithmetic would speed up."""
        return self

    def _found(self, texts: Sequence[str]) -> Iterator[list[int]]:
        nothing = [self._columns[NO_WORD]] if NO_WORD in self._columns else []
        for text in texts:
            yield sorted(self._columns[word] for word in words_of(text) if word in self._columns) or nothing
