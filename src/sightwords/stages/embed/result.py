"""What `sightwords embed` reports."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightwords.progress import duration


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
