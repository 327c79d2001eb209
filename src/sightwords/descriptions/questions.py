"""What is asked about: images, or classes; and which questions the description set has no good answer to yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Protocol

import numpy as np

from sightwords.descriptions.schema import Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.dataset import Split
from sightwords.images.references import ImageReference

_CHUNK = 400  # images that are looked up in the set at once
REFUSED = "refused"  # how the reason of an answer begins that the describer will not give for good


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to ask about.

    Attributes:
        key: key of the image, or `class:NAME`.
        name: the image's name as the user knows it, or the class's.
        class_name: readable class name, empty where the image has none.
        member: where the image's bytes lie; None where the question is about a class.
    """

    key: str
    name: str
    class_name: str
    member: ImageReference | None


class Targets(Protocol):
    """All that is asked about."""

    def __len__(self) -> int:
        """Return the number of targets."""

    def __iter__(self) -> Iterator[Target]:
        """Yield them, made anew at each pass: a million of them are large."""

    def image_keys(self, target_key: str) -> Sequence[str]:
        """Return the keys of the images that get the answer."""

    def images(self) -> Iterator[tuple[str, str, str]]:
        """Yield (key, name, class name) of every image."""


class ImageTargets:
    """Every distinct image once; several files with the same bytes are one.

    Args:
        parts: the images.
        class_names: readable names of the classes.
        share: (rank, number of processes): this process asks about its share of the keys alone.
    """

    def __init__(self, parts: Sequence[Split], class_names: Sequence[str], share: tuple[int, int] = (0, 1)) -> None:
        self._parts, self._class_names = parts, class_names
        self._places = [part.distinct_indices(parts[:i]) for i, part in enumerate(parts)]
        rank, num_shares = share
        if num_shares > 1:
            mine = [[int(part.key(i)[:8], 16) % num_shares == rank for i in at] for part, at in self._pairs()]
            self._places = [at[np.array(kept, bool)] for at, kept in zip(self._places, mine, strict=True)]

    def __len__(self) -> int:
        return sum(map(len, self._places))

    def __iter__(self) -> Iterator[Target]:
        for part, places in self._pairs():
            for i in places.tolist():
                member = part.reference(i)
                class_name = ", ".join(self._class_names[label] for label in part.labels(i))
                yield Target(part.key(i), member.name, class_name, member)

    def image_keys(self, target_key: str) -> Sequence[str]:
        """Return the image's own key."""
        return (target_key,)

    def images(self) -> Iterator[tuple[str, str, str]]:
        """Yield (key, name, class name) of every image."""
        return ((target.key, target.name, target.class_name) for target in self)

    def _pairs(self) -> Iterator[tuple[Split, np.ndarray]]:
        return zip(self._parts, self._places, strict=True)


class ClassTargets:
    """Every class once, and the images that belong to it; images with several classes form a class of their own.

    Args:
        images: the images.
    """

    def __init__(self, images: ImageTargets) -> None:
        self._images = images
        self._keys: dict[str, list[str]] = {}
        for target in images:
            self._keys.setdefault(target.class_name, []).append(target.key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Target]:
        return (Target(f"class:{name}", name, name, None) for name in sorted(self._keys))

    def image_keys(self, target_key: str) -> Sequence[str]:
        """Return the keys of the class's images."""
        return self._keys[target_key.removeprefix("class:")]

    def images(self) -> Iterator[tuple[str, str, str]]:
        """Yield (key, name, class name) of every image."""
        return self._images.images()


@dataclass(frozen=True)
class Question:
    """A description that is wanted: the sample-th of a target, at this attempt."""

    target: Target
    sample: int
    attempt: int


@dataclass(frozen=True)
class Wanted:
    """Which descriptions a run asks for.

    Attributes:
        prompt: row id of the prompt.
        describer: row id of the describer.
        num_samples: descriptions of each target.
        tries: answers to get for a description until one is good.
        only_failed: ask only where an answer failed or was rejected, with new tries.
        since: when this run began; what failed later is left to the next run.
    """

    prompt: int
    describer: int
    num_samples: int
    tries: int
    only_failed: bool
    since: float

    def next_attempt(self, rows: Sequence[tuple[int, str, str, float]], review: Review | None = None) -> int | None:
        """Return the number of the attempt to make at a description, None where there is nothing to ask.

        Args:
            rows: (attempt, status, reason, created_at) of all attempts so far, in order.
            review: what a person decided last; that settles it, unless they want it asked again.
        """
        if not rows:
            return None if self.only_failed else 0
        attempt, status, reason, created_at = rows[-1]
        if review is not None and review.holds(attempt):
            return attempt + 1 if review.action == "ask" else None
        earlier = created_at < self.since
        if status == "ok" or (status == "failed" and not earlier):
            return None
        if status == "failed":
            return attempt
        if reason.startswith(REFUSED):
            return attempt + 1 if self.only_failed and earlier else None
        allowed = self.tries + (sum(row[3] < self.since for row in rows) if self.only_failed else 0)
        if review is not None and review.action == "ask":
            allowed = max(allowed, self.tries + review.attempt + 1)
        return attempt + 1 if attempt + 1 < allowed else None


def questions(store: DescriptionSet, targets: Targets, wanted: Wanted) -> Iterator[Question]:
    """Yield what is to be asked, as the set stands when each target is looked at."""
    waiting, reviews = iter(targets), store.last_reviews(wanted.prompt, wanted.describer)
    while chunk := list(islice(waiting, _CHUNK)):
        keys = {target.key: targets.image_keys(target.key) for target in chunk}
        # of a class, the first image stands for all: they are stored together (see `spread`)
        found = _found(store, wanted, [images[0] for images in keys.values()])
        for target in chunk:
            for sample in range(wanted.num_samples):
                rows = found.get((keys[target.key][0], sample), ())
                attempt = wanted.next_attempt(rows, _review(reviews, keys[target.key], sample))
                if attempt is not None:
                    yield Question(target, sample, attempt)


def _review(reviews: dict[tuple[str, int], Review], keys: Sequence[str], sample: int) -> Review | None:
    """Return what a person decided; of a class only that it is to be asked again: the rest is of single images."""
    if len(keys) == 1 or not reviews:
        return reviews.get((keys[0], sample))
    found = (reviews.get((key, sample)) for key in keys)
    asked = [review for review in found if review is not None and review.action == "ask"]
    return max(asked, key=lambda review: review.attempt, default=None)


def _found(
    store: DescriptionSet, wanted: Wanted, keys: Sequence[str]
) -> dict[tuple[str, int], list[tuple[int, str, str, float]]]:
    rows = store.attempts(wanted.prompt, wanted.describer, keys)
    return {place: [row[2:] for row in group] for place, group in groupby(rows, key=lambda row: (row[0], row[1]))}


def spread(store: DescriptionSet, targets: ClassTargets, wanted: Wanted) -> None:
    """Give the answers that a class has to those of its images that lack them, since they joined it later."""
    for target in targets:
        keys = targets.image_keys(target.key)
        have: set[str] = set()
        for start in range(0, len(keys), _CHUNK):
            have |= {row[0] for row in store.attempts(wanted.prompt, wanted.describer, keys[start : start + _CHUNK])}
        if have and len(have) < len(keys):
            answers = list(store.rows(wanted.prompt, wanted.describer, [min(have)]))
            store.put(replace(answer, key=key) for key in keys if key not in have for answer in answers)
