"""Turn the texts of a description set into an embedding set."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sightwords.artefacts.description_set import DescriptionSet
from sightwords.artefacts.embedding_set import EmbeddingSet, check_replaceable
from sightwords.errors import ArtefactError, UnknownNameError
from sightwords.progress import duration, stopwatch
from sightwords.stages.embed.config import EmbedConfig
from sightwords.stages.embed.encode import Encoded, encode_texts, mean_vector
from sightwords.stages.embed.encoders import EncoderInfo, open_encoder


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding set holds.

    Attributes:
        out: its folder.
        meta: its `meta.json`.
        seconds: time of the encoding.
        skipped: whether it was there already and nothing was done.
    """

    out: Path
    meta: dict[str, Any]
    seconds: float = 0.0
    skipped: bool = False

    @property
    def next_command(self) -> str:
        """The command to run next."""
        return f"sightwords train IMAGES --embeddings {shlex.quote(str(self.out))} --model resnet50 --out RUN"

    def summary(self) -> str:
        """Return what the set holds and how it came about, as lines of text."""
        meta = self.meta
        what = (
            f"{meta['num_vectors']} distinct texts of {meta['num_descriptions']} descriptions "
            f"({meta['num_images']} images) by {meta['encoder']}, {meta['dimension']} numbers each"
        )
        if self.skipped:
            return f"{self.out} is up to date (same texts, same encoder), nothing was done: {what}"
        lines = [f"Wrote {self.out}: {what}"]
        if meta["num_split_texts"]:
            lines.append(
                f"  {meta['num_split_texts']} texts are longer than {meta['max_tokens']} tokens: "
                "encoded in pieces and pooled, nothing cut"
            )
        return "\n".join(
            [*lines, f"  {meta['num_tokens_total']} tokens in {duration(self.seconds)}, {meta['precision']}"]
        )


@dataclass
class _Texts:
    """The usable descriptions: the index of the embedding set, and each distinct text once, as it first appears."""

    fingerprint: str
    prompts: list[str]
    describers: list[str]
    index: dict[str, list[Any]]
    distinct: list[str]

    @property
    def num_images(self) -> int:
        return len(set(self.index["key"]))


def run(config: EmbedConfig) -> EmbedResult:
    """Encode every distinct text once and write the embedding set in one step.

    Where `config.out` holds the vectors of the same texts by the same encoder already, nothing is done.

    Raises:
        ArtefactError: the description set is missing or has no usable text, or `config.out` is something else.
        UnknownNameError: there is no such encoder, or no description by such a prompt.
        ModelError: the encoder cannot be fetched or loaded.
    """
    check_replaceable(config.out)  # before hours of work
    texts = _read(config)
    existing = _existing(config, texts)
    encoder = open_encoder(config.encoder, config.device, config.precision)
    made_from = _provenance(texts, encoder.info)
    if existing is not None and made_from.items() <= existing.meta.items():
        return EmbedResult(config.out, existing.meta, skipped=True)
    with stopwatch() as seconds:
        encoded = encode_texts(encoder, texts.distinct, config.batch_size)
    mean = mean_vector(encoded.vectors, np.array(texts.index["row"], np.int64))
    made = {"sightwords_version": version("sightwords"), "created_at": datetime.now(UTC).isoformat(timespec="seconds")}
    meta = {**made_from, **_counts(texts, encoded), **made}
    written = EmbeddingSet.write(config.out, encoded.vectors, mean, texts.index, meta)
    return EmbedResult(config.out, written.meta, seconds[0])


def _read(config: EmbedConfig) -> _Texts:
    index: dict[str, list[Any]] = {name: [] for name in ("key", "prompt", "describer", "sample", "row")}
    rows: dict[str, int] = {}
    with DescriptionSet(config.descriptions) as store:
        fingerprint = store.fingerprint()  # first: an answer that arrives meanwhile makes the next run embed anew
        for key, prompt, describer, sample, text in _usable(store, config.prompt):
            row = rows.setdefault(text, len(rows))
            for name, value in zip(index, (key, prompt, describer, sample, row), strict=True):
                index[name].append(value)
        counts = store.counts()
    if not rows:
        found = ", ".join(f"{count} {status}" for status, count in counts.items()) or "it is empty"
        raise ArtefactError(f"{config.descriptions} has no usable description ({found}). Describe or import first.")
    return _Texts(fingerprint, sorted(set(index["prompt"])), sorted(set(index["describer"])), index, list(rows))


def _usable(store: DescriptionSet, wanted: list[str]) -> Iterator[tuple[str, str, str, int, str]]:
    prompts = {row: prompt.name for row, prompt in store.prompts().items()}
    describers = {row: info.identifier for row, info in store.describers().items()}
    for name in wanted:
        if name not in prompts.values():
            raise UnknownNameError("prompt", name, set(prompts.values()), "These are the prompts of the set.")
    for one in store.descriptions("ok"):
        if not wanted or prompts[one.prompt] in wanted:
            yield one.key, prompts[one.prompt], describers[one.describer], one.sample, one.text


def _existing(config: EmbedConfig, texts: _Texts) -> EmbeddingSet | None:
    """Return the embedding set at `config.out`, None where it is damaged or there is none."""
    try:
        return EmbeddingSet(config.out) if config.out.exists() else None
    except (ArtefactError, KeyError, TypeError):
        return None


def _provenance(texts: _Texts, info: EncoderInfo) -> dict[str, Any]:
    """Return everything that the vectors depend on."""
    return {
        "encoder": info.identifier,
        "model": info.model,
        "revision": info.revision,
        "licence": info.licence,
        "precision": info.precision,
        "max_tokens": info.max_tokens,
        "fingerprint": texts.fingerprint,
        "prompts": texts.prompts,
        "describers": texts.describers,
    }


def _counts(texts: _Texts, encoded: Encoded) -> dict[str, int]:
    return {
        "num_images": texts.num_images,
        "num_split_texts": encoded.num_split,
        "num_pieces": encoded.num_pieces,
        "num_tokens_total": encoded.num_tokens_total,
        "num_tokens_cut": encoded.num_tokens_cut,
    }
