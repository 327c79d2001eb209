"""Harder training sets out of the one that is there: fewer images, rare classes, wrong labels, few labels.

Each is a function of the image keys alone: the same for every network, seed and machine, and a stronger setting keeps
what a weaker one did (of the images that a fraction of 0.5 takes, 0.25 takes half).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from sightwords.errors import DataError

if TYPE_CHECKING:
    from sightwords.images.dataset import Split
from sightwords.images.seeds import derive_seed


def stratified(images: Split, limit: int, proportional: bool = False) -> list[int]:
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


def hold_out(images: Split, share: float, seed: int, multi_label: bool = False) -> tuple[Split, Split]:
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


_UNIT = 2.0**-32


def harden(
    images: Split,
    num_classes: int,
    train_fraction: float = 1.0,
    long_tail: float = 1.0,
    label_noise: float = 0.0,
    label_fraction: float = 1.0,
) -> Split:
    """Return the training images after all four, in this order; at their defaults nothing changes.

    Args:
        images: training images.
        num_classes: K.
        train_fraction: see `thinned`.
        long_tail: see `long_tailed`.
        label_noise: see `with_label_noise`.
        label_fraction: see `with_few_labels`.

    Raises:
        DataError: the images have several labels each, and wrong or few labels are asked for.
    """
    if train_fraction < 1:
        images = thinned(images, train_fraction)
    if long_tail > 1:
        images = long_tailed(images, num_classes, long_tail)
    if label_noise > 0:
        images = with_label_noise(images, num_classes, label_noise)
    if label_fraction < 1:
        images = with_few_labels(images, label_fraction)
    return images


def thinned(images: Split, fraction: float) -> Split:
    """Return a share of the images, of each class alike."""
    return images.subset(stratified(images, max(1, round(fraction * len(images))), proportional=True))


def long_tailed(images: Split, num_classes: int, imbalance: float) -> Split:
    """Return images of which class k keeps the share imbalance^(-k / (K - 1)), at least one image.

    Source: the exponential profile of LDAM, arXiv 1906.07413, section 4.
    """
    labels = images.first_labels()
    kept: list[int] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        share = imbalance ** (-max(0, label) / max(1, num_classes - 1))
        kept += own[: max(1, round(share * len(own)))].tolist()
    return images.subset(sorted(kept))


def with_label_noise(images: Split, num_classes: int, share: float) -> Split:
    """Return the images with another class's label, uniformly drawn, on a share of them (symmetric noise).

    Raises:
        DataError: an image has several labels, or none.
    """
    if images.multi_label:
        raise DataError("--label-noise needs one label an image; these images have several, or none.")
    labels = images.first_labels().copy()
    for index, key in enumerate(images.keys()):
        drawn = derive_seed("label noise", key)
        # the lower 32 bits decide whether, the upper ones which
        if (drawn & 0xFFFFFFFF) * _UNIT < share:
            labels[index] = (labels[index] + 1 + (drawn >> 32) % (num_classes - 1)) % num_classes
    return images.relabeled(labels)


def with_few_labels(images: Split, fraction: float) -> Split:
    """Return the images with the labels of a share of each class alone; the others have none.

    Raises:
        DataError: an image has several labels, or none.
    """
    if images.multi_label:
        raise DataError("--label-fraction needs one label an image; these images have several, or none.")
    labels = np.full(len(images), -1)
    kept = stratified(images, max(1, round(fraction * len(images))), proportional=True)
    labels[kept] = images.first_labels()[kept]
    return images.relabeled(labels)
