"""Turn the texts of a description set into an embedding set."""

from __future__ import annotations

import glob
import shlex
import shutil
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightwords.errors import ArtifactError
from sightwords.files import lock
from sightwords.licenses import text_parts, warn_of_use
from sightwords.progress import Progress, duration, stopwatch
from sightwords.text.config import EmbedConfig
from sightwords.text.embedding_set import EmbeddingSet, check_replaceable
from sightwords.text.encode import default_rule, encode_texts, mean_vector
from sightwords.text.encoders import Encoder, EncoderInfo, open_encoder
from sightwords.text.journal import WorkFolder, told
from sightwords.text.plan import Counts
from sightwords.text.precision import Precision, Trial, choose
from sightwords.text.selection import Texts, read_texts

if TYPE_CHECKING:
    from sightwords.text.cluster import RayEncoders


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
        meta = self.meta
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
            lines.append(
                f"  {meta['num_split_texts']} texts are longer than {meta['max_tokens']} tokens: "
                "encoded in pieces and pooled, nothing cut"
            )
        return "\n".join(
            [*lines, f"  {meta['num_tokens_total']} tokens in {duration(self.seconds)}, {_arithmetic(meta)}"]
        )


def _arithmetic(meta: dict[str, Any]) -> str:
    """Return the precision and why it is that one."""
    trial = meta["trial"]
    if meta["precision_asked"] != "auto":
        return str(meta["precision"])
    if trial is None:
        return f"{meta['precision']} (the device has no bf16 instructions, or the encoder no use for them)"
    return (
        f"{meta['precision']} (a trial of bf16 on {trial['num_texts']} texts: {trial['speedup']:g} times as fast, "
        f"smallest cosine to fp32 {trial['smallest_cosine']:.4f})"
    )


def embed(config: EmbedConfig) -> EmbedResult:
    """Encode every distinct text once and write the embedding set in one step.

    Where `config.out` holds the vectors of the same texts by the same encoder already, nothing is done. A run that
    was interrupted goes on where it was: finished vectors wait in a work folder beside `config.out`.

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
        return _run(config)


def _run(config: EmbedConfig) -> EmbedResult:
    texts = read_texts(config)
    on_ray = config.engine == "ray"
    device = "cpu" if on_ray else config.device  # where others encode, this machine only tokenizes
    precision = "fp32" if config.precision == "auto" else config.precision
    # no worker of a cluster has all the texts, which some encoders are made of
    encoder = open_encoder(config.encoder, device, precision, None if on_ray else texts.distinct)
    described_by = {"describers": texts.describers, "encoder": encoder.info.identifier, "license": encoder.info.license}
    warn_of_use(text_parts(described_by), config.use, config.licenses)
    existing = _existing(config.out)
    if existing is not None and _is_up_to_date(
        existing.meta, _provenance(config, texts, encoder.info), config.precision
    ):
        WorkFolder(config.out).remove()  # of a run that was killed just before its end
        return EmbedResult(config.out, existing.meta, skipped=True)
    if on_ray:
        from sightwords.text.cluster import RayEncoders

        with RayEncoders(config, encoder) as cluster:
            return make_set(config, texts, cluster.encoder, cluster)
    return make_set(config, texts, encoder)


def make_set(config: EmbedConfig, texts: Texts, encoder: Encoder, cluster: RayEncoders | None = None) -> EmbedResult:
    """Encode texts and write the embedding set, going on where an interrupted run was.

    Args:
        config: the options.
        texts: what to encode.
        encoder: in the precision that the options name; in fp32 where they leave it open.
        cluster: who encodes in place of this process.

    Raises:
        ArtifactError: the disk is full.
        ModelError: the encoder returns a vector without a direction.
    """
    work = WorkFolder(config.out)
    encoder, precision = _precise(encoder, config, texts, work, cluster)
    engine = cluster.engine(precision.name) if cluster else None
    plan = _plan(texts, encoder.info) | precision.meta()
    work.open(plan, (len(texts.distinct), encoder.info.dimension), default_rule(encoder, config.batch_size))
    if work.note:
        Progress("Embedding", None, "texts").message(work.note)
    with stopwatch() as seconds, closing(work):
        counts = encode_texts(encoder, texts.distinct, config.batch_size, store=work, engine=engine).counts
    meta = _provenance(config, texts, encoder.info) | precision.meta() | _counts(texts, counts)
    meta["descriptions"] = str(config.descriptions)  # where to find the words again
    written = _write(config.out, work, texts, meta)
    return EmbedResult(config.out, written.meta, seconds[0])


def _precise(
    encoder: Encoder, config: EmbedConfig, texts: Texts, work: WorkFolder, cluster: RayEncoders | None
) -> tuple[Encoder, Precision]:
    """Return the encoder in the precision to use; an interrupted run keeps the one that it had chosen."""
    if config.precision != "auto":
        return encoder, Precision(config.precision, config.precision)
    begun = work.plan()
    if _plan(texts, encoder.info).items() <= begun.items() and begun.get("precision_asked") == "auto":
        name, trial = begun.get("precision"), begun.get("trial")
        if name in ("fp32", "bf16"):
            chosen = encoder if name == "fp32" else encoder.cast(name)
            return chosen, Precision(name, "auto", Trial(**trial) if trial else None)
    return cluster.choose(texts.distinct) if cluster else choose(encoder, texts.distinct, config.device)


def _plan(texts: Texts, info: EncoderInfo) -> dict[str, Any]:
    """Return everything that the vectors depend on but the precision."""
    return {
        "encoder": info.identifier,
        "model": info.model,
        "revision": info.revision,
        "max_tokens": info.max_tokens,
        "texts": texts.texts_hash,
    }


def _provenance(config: EmbedConfig, texts: Texts, info: EncoderInfo) -> dict[str, Any]:
    """Return everything that the set depends on; the precision may be another one where it is chosen by itself."""
    return {
        "encoder": info.identifier,
        "model": info.model,
        "revision": info.revision,
        "license": info.license,
        "precision": info.precision,
        "max_tokens": info.max_tokens,
        "fingerprint": texts.fingerprint,
        "where": config.where,
        "prompts": texts.prompts,
        "describers": texts.describers,
        **info.details,
    }


def _is_up_to_date(meta: dict[str, Any], wanted: dict[str, Any], asked: str) -> bool:
    if asked == "auto" and meta.get("precision_asked") == "auto":
        wanted = {**wanted, "precision": meta.get("precision")}
    return wanted.items() <= {"where": None, **meta}.items()


def _existing(out: Path) -> EmbeddingSet | None:
    """Return the embedding set at `out`, None where it is damaged or there is none."""
    try:
        return EmbeddingSet(out) if out.exists() else None
    except (ArtifactError, KeyError, TypeError):
        return None


def _counts(texts: Texts, counts: Counts) -> dict[str, Any]:
    return {
        **texts.asked,
        "num_images": texts.num_images,
        "num_split_texts": counts.num_split,
        "num_pieces": counts.num_pieces,
        "num_tokens_total": counts.num_tokens_total,
        "num_tokens_cut": counts.num_tokens_cut,
        "sightwords_version": version("sightwords"),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write(out: Path, work: WorkFolder, texts: Texts, meta: dict[str, Any]) -> EmbeddingSet:
    """Put the set in its place in one step, then clean up, also behind runs that were killed while they wrote."""
    mean = mean_vector(work.vectors, texts.rows)
    with told(out, "What was there is unchanged and the vectors are kept: free some space and run the command again."):
        written = EmbeddingSet.write(out, work.vectors_file, mean, texts.index, meta)
    work.remove()
    for ending in ("partial", "old"):
        for left in out.parent.glob(f".{glob.escape(out.name)}.????????.{ending}"):
            shutil.rmtree(left, ignore_errors=True)
    return written
