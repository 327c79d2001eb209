"""What is embedded: the descriptions that the user wants, and each distinct text of them once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.descriptions.schema import Selected
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError
from sightwords.text.config import EmbedConfig
from sightwords.text.embedding_set import INDEX_SCHEMA

_AT_ONCE = 65_536  # rows of the index that are Python objects at one time


@dataclass(frozen=True)
class Texts:
    """The wanted descriptions.

    Attributes:
        fingerprint: SHA-256 of all of them and what they belong to.
        texts_hash: SHA-256 of the distinct texts in their order.
        prompts: names of the prompts, sorted.
        describers: identifiers of the describers, and of the people who edited a text, sorted.
        index: the index of the embedding set, as `INDEX_SCHEMA` says.
        distinct: each text once, as it first appears.
        asked: what tells of each prompt and describer more than its name: `prompt_texts`, `describer_models`.
    """

    fingerprint: str
    texts_hash: str
    prompts: list[str]
    describers: list[str]
    index: pa.Table
    distinct: list[str]
    asked: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """Number of images with a description."""
        return int(pc.count_distinct(self.index["key"]).as_py())

    @property
    def rows(self) -> np.ndarray:
        """Position of each description's text among the distinct ones, int64, shape (N,)."""
        return np.asarray(self.index["row"].to_numpy())


def read_texts(config: EmbedConfig) -> Texts:
    """Return the usable descriptions that the configuration asks for.

    Texts are held in memory: about 0.5 kB for each distinct one of 250 letters, and 0.1 kB for each description.

    Raises:
        ArtifactError: the description set is missing, or has no such description.
        ConfigError: `config.where` is wrong.
        UnknownNameError: the set has no such prompt.
    """
    digest = hashlib.sha256()
    rows: dict[str, int] = {}
    chunks: list[pa.Table] = []
    editors: set[str] = set()
    with DescriptionSet(config.descriptions) as store:
        described = _Provenance(store)
        columns: dict[str, list[Any]] = {name: [] for name in INDEX_SCHEMA.names}
        for one in store.select(config.where, config.prompt):
            digest.update(described.line(one))
            editors.add(one.edited_by)
            _append(columns, one, rows.setdefault(one.text, len(rows)))
            if len(columns["key"]) == _AT_ONCE:
                chunks.append(_flushed(columns))
        counts, asked = store.counts(), described.asked()
    if not rows:
        raise _nothing(config, counts)
    index = pa.concat_tables([*chunks, _flushed(columns)]).unify_dictionaries()
    prompts, describers = (set(pc.unique(index[name]).to_pylist()) for name in ("prompt", "describer"))
    describers |= editors - {""}
    return Texts(digest.hexdigest(), _hash(rows), sorted(prompts), sorted(describers), index, list(rows), asked)


class _Provenance:
    """What a description depends on, as bytes for the fingerprint."""

    def __init__(self, store: DescriptionSet) -> None:
        self._store = store
        self._prompts = {row: prompt.row() for row, prompt in store.prompts().items()}
        self._describers = {row: info.row() for row, info in store.describers().items()}
        self._used: set[tuple[str, int]] = set()

    def asked(self) -> dict[str, list[dict[str, Any]]]:
        """Return the prompts' texts and the describers' models of the lines so far."""
        prompts = [one for row, one in self._store.prompts().items() if ("prompt", row) in self._used]
        describers = [one for row, one in self._store.describers().items() if ("describer", row) in self._used]
        models = [{"identifier": one.identifier, "model": one.model, "revision": one.revision} for one in describers]
        texts = [{"name": one.name, "version": one.version, "template": one.template} for one in prompts]
        return {"prompt_texts": texts, "describer_models": models}

    def line(self, one: Selected) -> bytes:
        self._used |= {("prompt", one.prompt_id), ("describer", one.describer_id)}
        prompt, describer = self._prompts[one.prompt_id], self._describers[one.describer_id]
        parts = (one.key, prompt, describer, one.sample, one.text)
        return repr(parts if one.clip_score is None else (*parts, one.clip_score)).encode()


def _append(columns: dict[str, list[Any]], one: Selected, row: int) -> None:
    values = {"key": one.key, "prompt": one.prompt, "describer": one.describer, "sample": one.sample, "row": row}
    for name, value in {**values, "clip_score": one.clip_score}.items():
        columns[name].append(value)


def _flushed(columns: dict[str, list[Any]]) -> pa.Table:
    """Return the columns as a table and empty them."""
    table = pa.table(dict(columns), schema=INDEX_SCHEMA)
    for values in columns.values():
        values.clear()
    return table


def _hash(texts: dict[str, int]) -> str:
    """Return a SHA-256 of texts in their order; none can be taken for two."""
    digest = hashlib.sha256()
    for text in _encoded(texts):
        digest.update(len(text).to_bytes(8, "little") + text)
    return digest.hexdigest()


def _encoded(texts: dict[str, int]) -> Iterator[bytes]:
    return (text.encode("utf-8", "surrogatepass") for text in texts)


def _nothing(config: EmbedConfig, counts: dict[str, int]) -> ArtifactError:
    found = ", ".join(f"{count} {status}" for status, count in counts.items()) or "it is empty"
    if counts.get("ok"):
        wanted = f"--where {config.where!r}" if config.where else f"--prompt {' '.join(config.prompt)}"
        return ArtifactError(f"{config.descriptions} has no usable description for {wanted} ({found}). Ask for others.")
    return ArtifactError(f"{config.descriptions} has no usable description ({found}). Describe or import first.")
