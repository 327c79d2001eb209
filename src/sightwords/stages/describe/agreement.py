"""How well an image and its description agree, by a CLIP model that the user names: one cosine a description."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
from PIL import Image

from sightwords.artifacts.description_set import Description, DescriptionSet
from sightwords.data.decode import decode_image
from sightwords.errors import ConfigError, UnreadableImageError
from sightwords.progress import Progress
from sightwords.stages.describe.target import Target, Targets

_KIND = "openclip:"


class Scorer(Protocol):
    """A model with an image and a text tower.

    Attributes:
        name: the model and its revision; scores of different names cannot be compared.
    """

    name: str

    def images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Return normalized vectors, float32, shape (N, D)."""

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return normalized vectors, float32, shape (N, D); a text beyond the model's limit is cut there."""


def open_scorer(identifier: str, device: str) -> Scorer:
    """Return the scorer of an ID.

    Raises:
        ConfigError: it is of no known kind.
        MissingExtraError: open_clip is not installed.
        ModelError: the model cannot be had.
    """
    if not identifier.startswith(_KIND):
        raise ConfigError(
            f"--agreement is {identifier!r}; it must be openclip:MODEL/TAG_OR_CHECKPOINT, for example "
            "openclip:ViT-B-32/laion2b_s34b_b79k."
        )
    from sightwords.stages.describe.clip_scorer import ClipScorer

    return ClipScorer(identifier.removeprefix(_KIND), device)


def score_agreement(
    store: DescriptionSet,
    rows: tuple[int, int],
    targets: Targets,
    scorer: Scorer,
    batch_size: int,
    stopping: Callable[[], bool],
) -> int:
    """Score the usable descriptions that have no score yet; return how many that were.

    Each batch is committed, so a run that is killed goes on from there. Images that cannot be read stay without.

    Args:
        store: the set.
        rows: row ids of prompt and describer.
        targets: the images.
        scorer: the model.
        batch_size: images at once.
        stopping: True once the run is to stop.
    """
    store.begin_agreements(scorer.name)
    num_scored = 0
    waiting = iter(targets)
    with Progress("Scoring agreement", len(targets), "images") as progress:
        while not stopping() and (chunk := list(islice(waiting, batch_size))):
            num_scored += _score_chunk(store, rows, chunk, scorer)
            progress.advance(len(chunk))
    return num_scored


def _score_chunk(store: DescriptionSet, rows: tuple[int, int], chunk: Sequence[Target], scorer: Scorer) -> int:
    todo: dict[str, list[Description]] = {}
    for row in store.rows(*rows, [target.key for target in chunk]):
        if row.status == "ok" and row.agreement is None:
            todo.setdefault(row.key, []).append(row)
    pictures = {target.key: picture for target in chunk if target.key in todo and (picture := _picture(target))}
    if not pictures:
        return 0
    vectors = dict(zip(pictures, scorer.images(list(pictures.values())), strict=True))
    asked = [row for key in pictures for row in todo[key]]
    texts = scorer.texts([row.text for row in asked])
    scores = [float(np.dot(vectors[row.key], text)) for row, text in zip(asked, texts, strict=True)]
    store.set_agreements(zip(scores, asked, strict=True))
    return len(asked)


def _picture(target: Target) -> Image.Image | None:
    assert target.member is not None, "classes have no picture"
    try:
        return decode_image(target.member.read(), target.name)
    except (OSError, UnreadableImageError):
        return None
