"""What is asked about, images or classes, and which descriptions of them the set still lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np

from sightwords.descriptions.schema import Attempt, Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.dataset import Split
from sightwords.images.references import ImageReference

_CHUNK = 400  # images that are looked up in the set at once
REFUSED = "refused"  # how the reason of an answer begins that the describer refuses for good


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to ask about.

    Attributes:
        key: key of the image, or `class:NAME`.
        name: the image's name as the user knows it, or the class's.
        class_name: readable class name, empty where the image has none.
        reference: where the image's bytes lie; None where the question is about a class.
    """

    key: str
    name: str
    class_name: str
    reference: ImageReference | None


class Targets:
    """Every distinct image once, or every class once; made anew at each pass, since a million of them are large.

    Several files with the same bytes are one image. Images with several classes form a class of their own.

    Args:
        splits: the images.
        class_names: readable names of the classes.
        per_class: ask about classes; they are few, so the first process takes them all.
        part: (rank, number of processes): this process asks about its part of the keys alone.
    """

    def __init__(
        self,
        splits: Sequence[Split],
        class_names: Sequence[str],
        per_class: bool = False,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.per_class, (rank, world_size) = per_class, part
        self._splits, self._class_names = splits, class_names
        self._indices = [split.distinct_indices(splits[:i]) for i, split in enumerate(splits)]
        for number, (split, at) in enumerate(zip(splits, self._indices, strict=True) if world_size > 1 else ()):
            own = [(0 if per_class else int(split.key(i)[:8], 16) % world_size) == rank for i in at]
            self._indices[number] = at[np.array(own, bool)]
        self._keys: dict[str, list[str]] = {}
        for image in self.images() if per_class else ():
            self._keys.setdefault(image.class_name, []).append(image.key)

    def __len__(self) -> int:
        return len(self._keys) if self.per_class else sum(map(len, self._indices))

    def __iter__(self) -> Iterator[Target]:
        if self.per_class:
            return (Target(f"class:{name}", name, name, None) for name in sorted(self._keys))
        return self.images()

    def images(self) -> Iterator[Target]:
        """Yield every image, of classes too."""
        for split, indices in zip(self._splits, self._indices, strict=True):
            for i in indices.tolist():
                reference = split.reference(i)
                class_name = ", ".join(self._class_names[label] for label in split.labels(i))
                yield Target(split.key(i), reference.name, class_name, reference)

    def image_keys(self, target_key: str) -> Sequence[str]:
        """Return the keys of the images that get the answer: the image itself, or those of the class."""
        return self._keys[target_key.removeprefix("class:")] if self.per_class else (target_key,)


@dataclass(frozen=True)
class Wanted:
    """Which descriptions a run asks for.

    Attributes:
        rows: row ids of prompt and describer.
        num_samples: descriptions of each target.
        tries: answers to get for a description until one is good.
        only_failed: ask only where an answer failed or was rejected, with new tries.
        since: when this run began, in seconds since 1970; what failed later is left to the next run.
    """

    rows: tuple[int, int]
    num_samples: int
    tries: int
    only_failed: bool
    since: float

    def next_attempt(self, attempts: Sequence[Attempt], review: Review | None = None) -> int | None:
        """Return the number of the attempt to make after these, None where there is nothing to ask.

        What a person decided last settles it, unless they want it asked again.
        """
        if not attempts:
            return None if self.only_failed else 0
        last = attempts[-1]
        if review is not None and review.holds(last.attempt):
            return last.attempt + 1 if review.action == "ask" else None
        earlier = last.created_at < self.since
        if last.status == "ok" or (last.status == "failed" and not earlier):
            return None
        if last.status == "failed":
            return last.attempt
        if last.reason.startswith(REFUSED):
            return last.attempt + 1 if self.only_failed and earlier else None
        allowed = self.tries + sum(attempt.created_at < self.since for attempt in attempts) * self.only_failed
        if review is not None and review.action == "ask":
            allowed = max(allowed, self.tries + review.attempt + 1)
        return last.attempt + 1 if last.attempt + 1 < allowed else None


def missing(store: DescriptionSet, targets: Targets, wanted: Wanted) -> Iterator[tuple[Target, int, int]]:
    """Yield (target, sample, attempt) of what is to be asked, as the set stands when each target is looked at."""
    waiting, reviews = iter(targets), store.last_reviews(*wanted.rows)
    while chunk := list(islice(waiting, _CHUNK)):
        keys = {target.key: targets.image_keys(target.key) for target in chunk}
        # of a class, the first image stands for all: they are stored together (see `spread`)
        rows = store.attempts(*wanted.rows, [images[0] for images in keys.values()])
        found = {place: list(group) for place, group in groupby(rows, key=lambda row: (row.key, row.sample))}
        for target in chunk:
            for sample in range(wanted.num_samples):
                attempts = found.get((keys[target.key][0], sample), ())
                attempt = wanted.next_attempt(attempts, _review(reviews, keys[target.key], sample))
                if attempt is not None:
                    yield target, sample, attempt


def _review(reviews: dict[tuple[str, int], Review], keys: Sequence[str], sample: int) -> Review | None:
    """Return what a person decided; of a class only that it is to be asked again: the rest is of single images."""
    if len(keys) == 1 or not reviews:
        return reviews.get((keys[0], sample))
    found = (reviews.get((key, sample)) for key in keys)
    asked = [review for review in found if review is not None and review.action == "ask"]
    return max(asked, key=lambda review: review.attempt, default=None)


def spread(store: DescriptionSet, targets: Targets, wanted: Wanted) -> None:
    """Give the answers that a class has to those of its images that lack them, since they joined it later."""
    for target in targets:
        keys = targets.image_keys(target.key)
        have = {row.key for row in store.attempts(*wanted.rows, keys)}
        if have and len(have) < len(keys):
            answers = store.rows(*wanted.rows, [min(have)])
            store.put(replace(answer, key=key) for key in keys if key not in have for answer in answers)
