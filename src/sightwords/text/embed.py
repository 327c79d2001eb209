"""Turn the texts of a description set into an embedding set."""

from __future__ import annotations

import glob
import hashlib
import json
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError
from sightwords.files import lock
from sightwords.licenses import text_parts, warn_of_use
from sightwords.progress import Progress, duration, stopwatch
from sightwords.text.config import EmbedConfig
from sightwords.text.embedding_set import INDEX_SCHEMA, EmbeddingSet, check_replaceable
from sightwords.text.encode import Engine, Trial, default_rule, encode_here, plan_blocks, try_bf16
from sightwords.text.encoders import Encoder, open_encoder
from sightwords.text.journal import Journal, disk_errors_explained
from sightwords.text.plan import BatchRule

if TYPE_CHECKING:
    from sightwords.text.cluster import RayEncoders

_ROWS_AT_ONCE = 65_536  # of the index that are Python objects at one time


@dataclass(frozen=True)
class EmbedResult:
    """What an embedding set holds.

    Attributes:
        out: its folder.
        meta: its `meta.json`.
        seconds: time of the encoding, of this run alone.
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
        meta, trial = self.meta, self.meta["trial"]
        what = (
            f"{meta['num_vectors']} distinct texts of {meta['num_descriptions']} descriptions "
            f"({meta['num_images']} images) by {meta['encoder']}, {meta['dimension']} numbers each"
        )
        if self.skipped:
            return f"{self.out} is up to date (same texts, same encoder), nothing was done: {what}"
        lines = [f"Wrote {self.out}: {what}"]
        if meta["where"]:
            lines.append(f"  only where {meta['where']}")
        if meta["num_split_texts"]:
            limit = f"longer than {meta['max_tokens']} tokens"
            lines.append(f"  {meta['num_split_texts']} texts are {limit}: encoded in pieces and pooled, nothing cut")
        lines.append(f"  {meta['num_tokens_total']} tokens in {duration(self.seconds)}, {meta['precision']}")
        if trial:
            tried = f"a trial of bf16 on {trial['num_texts']} texts: {trial['speedup']:g} times as fast"
            lines[-1] += f" ({tried}, smallest cosine to fp32 {trial['smallest_cosine']:.4f})"
        return "\n".join(lines)


@dataclass(frozen=True)
class Texts:
    """The wanted descriptions.

    Attributes:
        distinct: each text once, as it first appears.
        index: the index of the embedding set, as `INDEX_SCHEMA` says.
        provenance: what they depend on: fingerprint, condition, prompts, describers; JSON values.
    """

    distinct: list[str]
    index: pa.Table
    provenance: dict[str, Any]

    @property
    def rows(self) -> np.ndarray:
        """Position of each description's text among the distinct ones, int64, shape (N,)."""
        return np.asarray(self.index["row"].to_numpy())


def embed(config: EmbedConfig) -> EmbedResult:
    """Encode every distinct text once and write the embedding set in one step.

    Where `config.out` holds the vectors of the same texts by the same encoder already, nothing is done. A run that
    was interrupted goes on where it was: finished batches wait in a file beside `config.out`.

    Raises:
        ArtifactError: the description set is missing or has no usable text, `config.out` is something else, or the
            disk is full.
        BusyError: another process makes this set.
        ConfigError: the condition of `config.where` is wrong.
        UnknownNameError: there is no such encoder, or no description by such a prompt.
        ModelError: the encoder cannot be fetched or loaded.
        UnavailableError: the Ray cluster cannot be reached, or disappears; what had arrived is kept.
    """
    check_replaceable(config.out)  # before hours of work
    name = f"embedding set {config.out.resolve()}"
    with lock(name, f"Another process writes {config.out}. Wait for it, or stop it first."):
        texts = read_texts(config)
        on_ray = config.engine == "ray"
        device = "cpu" if on_ray else config.device  # where others encode, this machine only tokenizes
        precision = "fp32" if config.precision == "auto" else config.precision
        # no worker of a cluster has all the texts, which some encoders are made of
        encoder = open_encoder(config.encoder, device, precision, None if on_ray else texts.distinct)
        wanted = _provenance(texts, encoder)
        warn_of_use(text_parts(wanted), config.use, config.licenses)
        existing: dict[str, Any] = {}
        with suppress(ArtifactError):  # there is none, or it is damaged
            existing = EmbeddingSet(config.out).meta
        if _is_same(existing, wanted, config.precision):
            Journal(config.out).remove()  # of a run that was killed just before its end
            return EmbedResult(config.out, existing, skipped=True)
        if not on_ray:
            return make_set(config, texts, encoder)
        from sightwords.text.cluster import RayEncoders

        with closing(RayEncoders(config, encoder.info)) as cluster:
            return make_set(config, texts, encoder, cluster)


def make_set(config: EmbedConfig, texts: Texts, encoder: Encoder, cluster: RayEncoders | None = None) -> EmbedResult:
    """Encode texts and write the embedding set, going on where an interrupted run was.

    Args:
        config: the options.
        texts: what to encode.
        encoder: in the precision that the options name; in fp32 where they leave it open.
        cluster: who encodes in place of this process.

    Raises:
        ArtifactError: the disk is full.
        ModelError: the encoder returns a vector that is not finite, or zero.
    """
    journal = Journal(config.out)
    rule = default_rule(encoder, config.batch_size, cluster.device if cluster else encoder.info.device)
    wanted = _provenance(texts, encoder) | {"rule": asdict(rule)}
    with closing(journal), stopwatch() as seconds:
        resume = _is_same(journal.plan, wanted, config.precision)
        trial: Trial | None = None
        if resume:
            trial = Trial(**journal.plan["trial"]) if journal.plan["trial"] else None
        elif config.precision == "auto":
            trial = cluster.try_bf16(texts.distinct) if cluster else try_bf16(encoder, texts.distinct)
        precision = "bf16" if trial and trial.passed else encoder.info.precision
        chosen = {"precision": precision, "precision_asked": config.precision, "trial": trial and asdict(trial)}
        journal.begin(wanted | chosen, resume)
        engine = partial(cluster.encode, precision) if cluster else partial(encode_here, encoder.cast(precision))
        _encode(encoder, texts.distinct, rule, journal, engine)
        meta = _provenance(texts, encoder) | chosen | journal.counts()
        meta["num_images"] = int(pc.count_distinct(texts.index["key"]).as_py())
        meta["descriptions"] = str(config.descriptions)  # where to find the words again
        meta["sightwords_version"] = version("sightwords")
        meta["created_at"] = datetime.now(UTC).isoformat(timespec="seconds")
        vectors = journal.write_vectors((len(texts.distinct), encoder.info.dimension), rule.block)
        mean = mean_vector(np.load(vectors, mmap_mode="r"), texts.rows)
        with disk_errors_explained(config.out):
            written = EmbeddingSet.write(config.out, vectors, mean, texts.index, meta)
    journal.remove()
    for ending in ("partial", "old"):  # of runs that were killed while they wrote
        for left in config.out.parent.glob(f".{glob.escape(config.out.name)}.????????.{ending}"):
            shutil.rmtree(left, ignore_errors=True)
    return EmbedResult(config.out, written.meta, seconds[0])


def mean_vector(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the mean over descriptions, float32, shape (D,).

    Args:
        vectors: shape (R, D).
        rows: row of each description's vector, shape (N,); a text that occurs twice counts twice.
    """
    weights = np.bincount(rows, minlength=len(vectors)) / len(rows)
    mean = np.zeros(vectors.shape[1])
    for start in range(0, len(vectors), 4096):
        mean += weights[start : start + 4096] @ vectors[start : start + 4096].astype(np.float64)
    return mean.astype(np.float32)


def _encode(encoder: Encoder, texts: Sequence[str], rule: BatchRule, journal: Journal, engine: Engine) -> None:
    """Encode the batches that the journal lacks."""
    num_done = Counter[int]()
    for (block, _), rows in journal.done.items():
        num_done[block] += len(rows)
    starts = range(0, len(texts), rule.block)
    blocks = [block for block, start in enumerate(starts) if num_done[block] < len(texts[start : start + rule.block])]
    finished = sum(len(texts[row]) for rows in journal.done.values() for row in rows)
    total = sum(map(len, texts))  # time goes with the length, and long texts come first
    planned = plan_blocks(encoder, texts, blocks, rule)
    with closing(planned), Progress("Embedding", total, "characters", finished) as progress:
        if journal.note:
            progress.message(journal.note)
        for batches in planned:
            for batch, found in engine([batch for batch in batches if not journal.has(batch)]):
                journal.put(batch, batch.pooled(found))
                progress.advance(sum(len(texts[row]) for row in batch.rows), f"{len(texts)} texts")


def _provenance(texts: Texts, encoder: Encoder) -> dict[str, Any]:
    """Return everything that the vectors depend on but the arithmetic."""
    info = encoder.info
    return {
        "encoder": info.identifier,
        "model": info.model,
        "revision": info.revision,
        "license": info.license,
        "max_tokens": info.max_tokens,
        **texts.provenance,
        **info.details,
    }


def _is_same(meta: Mapping[str, Any], wanted: Mapping[str, Any], precision: str) -> bool:
    """Return whether vectors that are there are those that are wanted, in the precision that is asked for."""
    found = meta.get("precision_asked" if precision == "auto" else "precision")
    return found == precision and json.loads(json.dumps(wanted)).items() <= meta.items()


def read_texts(config: EmbedConfig) -> Texts:
    """Return the usable descriptions that the configuration asks for.

    Texts are held in memory: about 0.5 kB for each distinct one of 250 letters, and 0.1 kB for each description.

    Raises:
        ArtifactError: the description set is missing, or has no such description.
        ConfigError: `config.where` is wrong.
        UnknownNameError: the set has no such prompt.
    """
    rows: dict[str, int] = {}
    chunks: list[pa.Table] = []
    used: set[tuple[int, int, str]] = set()
    digest = hashlib.sha256()
    with DescriptionSet(config.descriptions) as store:
        prompts, describers = store.prompts(), store.describers()
        asked = {number: prompt.row() for number, prompt in prompts.items()}
        asking = {number: describer.row() for number, describer in describers.items()}
        selected = store.select(config.where, config.prompt)
        while part := list(islice(selected, _ROWS_AT_ONCE)):
            for one in part:
                line = (one.key, asked[one.prompt_id], asking[one.describer_id], one.sample, one.text, one.clip_score)
                digest.update(repr(line).encode())
            used |= {(one.prompt_id, one.describer_id, one.edited_by) for one in part}
            columns = {name: [getattr(one, name) for one in part] for name in INDEX_SCHEMA.names if name != "row"}
            columns["row"] = [rows.setdefault(one.text, len(rows)) for one in part]
            chunks.append(pa.table(columns, schema=INDEX_SCHEMA))
        if not rows:
            raise _nothing(config, store.counts())
    used_prompts = [prompts[number] for number in sorted({number for number, _, _ in used})]
    used_describers = [describers[number] for number in sorted({number for _, number, _ in used})]
    provenance = {
        "fingerprint": digest.hexdigest(),
        "where": config.where,
        "prompts": sorted({one.name for one in used_prompts}),
        "describers": sorted({one.identifier for one in used_describers} | {editor for *_, editor in used if editor}),
        "prompt_texts": [{"name": one.name, "version": one.version, "template": one.template} for one in used_prompts],
        "describer_models": [
            {"identifier": one.identifier, "model": one.model, "revision": one.revision} for one in used_describers
        ],
    }
    return Texts(list(rows), pa.concat_tables(chunks).unify_dictionaries(), provenance)


def _nothing(config: EmbedConfig, counts: dict[str, int]) -> ArtifactError:
    found = ", ".join(f"{count} {status}" for status, count in counts.items()) or "it is empty"
    wanted = f" for --where {config.where!r}" if config.where else ""
    wanted += f" for --prompt {' '.join(config.prompt)}" if config.prompt else ""
    return ArtifactError(f"{config.descriptions} has no usable description{wanted} ({found}). Describe or import more.")
