"""Which images of a set make a part of it, decided by their keys."""

from __future__ import annotations

from collections import Counter

from sightwords.data.image_set import ImageSet
from sightwords.data.randomness import derive_seed
from sightwords.errors import DataError


def stratified(images: ImageSet, limit: int, proportional: bool = False) -> list[int]:
    """Return the indices of at most `limit` images, the same number of each class as far as that goes.

    A function of the keys alone: a larger limit adds images and takes none away.

    Args:
        images: the images.
        limit: how many to take.
        proportional: take of each class its share instead, so that the sample stands for the whole.
    """
    labels = images.first_labels().tolist()
    sizes = Counter(labels)
    rounds: list[tuple[float, int, int]] = []
    seen: dict[int, int] = {}
    for index, label in enumerate(labels):
        seen[label] = seen.get(label, -1) + 1
        place = (seen[label] + 0.5) / sizes[label] if proportional else seen[label]
        rounds.append((place, label, index))
    return sorted(index for _, _, index in sorted(rounds)[:limit])


def hold_out(images: ImageSet, share: float, seed: int, multi_label: bool = False) -> tuple[ImageSet, ImageSet]:
    """Return a set in two parts: the rest, and the share of each class that is held out.

    A function of (seed, keys): images with the same bytes are on the same side.

    Args:
        images: the images.
        share: how much of each class.
        seed: of the choice.
        multi_label: whether images without a label, which show nothing of what is looked for, are held out like others;
            else their class is not known and they stay.

    Raises:
        DataError: nothing would be held out, or nothing left.
    """
    by_class: dict[int, list[str]] = {}
    for label, key in dict.fromkeys(zip(images.first_labels().tolist(), images.keys(), strict=True)):
        by_class.setdefault(label, []).append(key)
    if not multi_label:
        by_class.pop(-1, None)
    held: set[str] = set()
    for own in by_class.values():
        own.sort(key=lambda key: derive_seed("holdout", seed, key))
        held.update(own[: round(share * len(own))])
    keys = images.keys()
    sides = [key in held for key in keys]
    if not any(sides) or all(sides):
        raise DataError(f"Holding out {share:g} of {len(images)} images leaves a side empty. Choose another share.")
    kept = [index for index, is_held in enumerate(sides) if not is_held]
    return images.subset(kept), images.subset([index for index, is_held in enumerate(sides) if is_held])
