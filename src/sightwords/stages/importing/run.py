"""Take over descriptions that exist already into a description set."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightwords.artifacts.description_set import Description, DescriptionSet
from sightwords.data.catalog import Catalog, Problem, open_catalog
from sightwords.errors import DataError
from sightwords.stages.importing.config import ImportConfig
from sightwords.stages.importing.match import Image, Matching, match_images
from sightwords.stages.importing.published import LIST_SUFFIXES, read_published
from sightwords.stages.importing.reader import read_table
from sightwords.stages.importing.row import Row, Rows

NUM_EXAMPLES = 3


@dataclass(frozen=True)
class ImportResult:
    """What an import took over, and what it left out.

    Attributes:
        out: the description set.
        way: how rows were joined to images, in words.
        num_matched: rows that belong to an image and were stored.
        num_described: images that they belong to.
        num_empty: rows left out because their text is empty.
        num_unmatched: rows left out because they belong to no image.
        unmatched: some of these rows' images as the source names them.
        num_undescribed: images without a description from this source.
        undescribed: some of these images' names.
        problems: images that cannot be read.
    """

    out: Path
    way: str
    num_matched: int
    num_described: int
    num_empty: int
    num_unmatched: int
    unmatched: list[str]
    num_undescribed: int
    undescribed: list[str]
    problems: list[Problem]

    @property
    def next_command(self) -> str:
        """The command to run next."""
        folder = self.out.with_name(f"{self.out.stem}-embeddings")
        return shlex.join(["sightwords", "embed", str(self.out), "--encoder", "builtin:minilm", "--out", str(folder)])

    def summary(self) -> str:
        """Return what was taken over and left out, as lines of text."""
        counts = f"{self.num_matched} descriptions of {self.num_described} images"
        lines = [f"Wrote {counts}, joined by {self.way}, to {self.out}"]
        if self.num_unmatched:
            lines.append(f"  rows without an image: {self.num_unmatched}, e.g. {', '.join(self.unmatched)}")
        if self.num_undescribed:
            lines.append(f"  images without a description: {self.num_undescribed}, e.g. {', '.join(self.undescribed)}")
        if self.num_empty:
            lines.append(f"  rows with an empty text: {self.num_empty}")
        if self.problems:
            first = self.problems[0]
            lines.append(f"  unreadable images: {len(self.problems)}, e.g. {first.name} ({first.reason})")
        return "\n".join(lines)


def run(config: ImportConfig) -> ImportResult:
    """Join the descriptions of `config.source` to images and store them in one transaction.

    A second import of the same source replaces its rows by equal ones.

    Raises:
        DataError: the source or the images cannot be used, or no row fits an image.
        ArtifactError: a published list does not fit the folder, or `config.out` is no description set.
    """
    source = read_published(config) if config.source.suffix.lower() in LIST_SUFFIXES else read_table(config)
    if not source.rows:
        raise DataError(f"{config.source} has no description ({source.num_empty} rows have an empty text).")
    catalog = open_catalog(config, ("train", "val") if config.split == "all" else (config.split,))
    images = list(_images(catalog))
    bases = [Path(config.images)] if config.images else []
    references = [row.reference for row in source.rows]
    matching = match_images(references, images, [*bases, config.source.parent, Path()])
    samples = _samples(config.source, source.rows, matching.keys)
    _store(config.out, source, matching.keys, samples, images)
    return _result(config.out, source, matching, images, catalog.problems)


def _images(catalog: Catalog) -> Iterator[Image]:
    for split, members in catalog.splits.items():
        for index in range(len(members)):
            member = members.member(index)
            classes = ", ".join(catalog.class_names[label] for label in members.labels(index))
            yield Image(members.key(index), member.name, member.file if member.size < 0 else "", split, classes)


def _samples(source: Path, rows: Sequence[Row], keys: Sequence[str | None]) -> list[int]:
    """Return the sample number of each row: its own, or its position among the rows of its image."""
    counts: dict[tuple[str | None, int, int], int] = {}
    taken: dict[tuple[str | None, int, int, int], str] = {}
    samples: list[int] = []
    for row, key in zip(rows, keys, strict=True):
        group = (key, row.prompt, row.describer)
        if row.sample is None:
            counts[group] = counts.get(group, -1) + 1
        elif key is not None and taken.setdefault((*group, row.sample), row.text) != row.text:
            raise DataError(
                f"{source} has two texts for sample {row.sample} of the image {key} by the same prompt and describer. "
                "Remove one of them, or number them apart."
            )
        samples.append(counts[group] if row.sample is None else row.sample)
    return samples


def _store(
    out: Path, source: Rows, keys: Sequence[str | None], samples: Sequence[int], images: Sequence[Image]
) -> None:
    matched, now = set(keys), time.time()
    places = enumerate(zip(keys, samples, strict=True))
    # by key, so that SQLite's index grows at its end and not all over
    order = sorted((key, sample, place) for place, (key, sample) in places if key is not None)
    with DescriptionSet(out, create=True) as store:
        prompts = [store.add_prompt(prompt) for prompt in source.prompts]
        describers = [store.add_describer(describer) for describer in source.describers]
        store.add_images((image.key, image.name, image.class_name) for image in images if image.key in matched)
        # one transaction for all rows: a kill leaves the descriptions as they were
        found = ((key, sample, source.rows[place]) for key, sample, place in order)
        store.put(
            Description(
                key, prompts[row.prompt], describers[row.describer], sample, row.text, row.status, row.reason,
                row.num_prompt_tokens, row.num_text_tokens, row.seconds, row.created_at or now,
            )
            for key, sample, row in found
        )  # fmt: skip


def _result(
    out: Path, source: Rows, matching: Matching, images: Sequence[Image], problems: Sequence[Problem]
) -> ImportResult:
    described = {key for key in matching.keys if key is not None}
    unmatched = [row.reference for row, key in zip(source.rows, matching.keys, strict=True) if key is None]
    undescribed = [image.name for image in images if image.key not in described]
    return ImportResult(
        out=out,
        way=matching.way,
        num_matched=len(source.rows) - len(unmatched),
        num_described=len(described),
        num_empty=source.num_empty,
        num_unmatched=len(unmatched),
        unmatched=[repr(reference) for reference in dict.fromkeys(unmatched)][:NUM_EXAMPLES],
        num_undescribed=len(undescribed),
        undescribed=undescribed[:NUM_EXAMPLES],
        problems=list(problems),
    )
