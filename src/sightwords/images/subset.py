"""Parts of a data set: a stratified sample, a held-out part, and training sets made harder to learn from.

Each is a function of the image keys (and of a seed for what is held out): the same for every network and machine, and a
stronger setting keeps what a weaker one did (of the images that a fraction of 0.5 takes, 0.25 takes half).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sightwords.errors import DataError
from sightwords.images.seeds import derive_seed

if TYPE_CHECKING:
    from sightwords.images.dataset import Split


def stratified(images: Split, limit: int, proportional: bool = False) -> list[int]:
    """Return the indices of at most `limit` images, the same number of each class as far as that goes.

    A function of the keys alone: a larger limit adds images and takes none away. A proportional sample takes the same
    fraction of each class instead, so that it stands for the whole.
    """
    labels = images.first_labels()
    by_class = np.argsort(labels, kind="stable")
    _, starts, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    place: np.ndarray = np.arange(len(labels)) - np.repeat(starts, sizes)  # within the class
    if proportional:
        place = (place + 0.5) / np.repeat(sizes, sizes)
    chosen = np.lexsort((by_class, labels[by_class], place))[:limit]
    return sorted(by_class[chosen].tolist())


def hold_out(images: Split, fraction: float, seed: int, multi_label: bool = False) -> tuple[Split, Split]:
    """Return a split in two parts: the rest, and the fraction, 0 to 1, of each class that is held out.

    A function of (seed, keys): images with the same bytes are on the same side. In multi-label data, images without a
    label show nothing of what is looked for and are held out like others; else their class is not known and they stay.

    Raises:
        DataError: nothing would be held out, or nothing left.
    """
    keys = images.keys()
    by_class: dict[int, list[str]] = {}
    for label, key in dict.fromkeys(zip(images.first_labels().tolist(), keys, strict=True)):
        by_class.setdefault(label, []).append(key)
    if not multi_label:
        by_class.pop(-1, None)
    held: set[str] = set()
    for own in by_class.values():
        own.sort(key=lambda key: derive_seed("holdout", seed, key))
        held.update(own[: round(fraction * len(own))])
    is_held = np.array([key in held for key in keys], bool)
    if is_held.all() or not is_held.any():
        raise DataError(f"Holding out {fraction:g} of {len(images)} images leaves a side empty. Hold out another part.")
    return images.subset(np.flatnonzero(~is_held)), images.subset(np.flatnonzero(is_held))


def make_subset(
    images: Split,
    num_classes: int,
    train_fraction: float = 1.0,
    long_tail: float = 1.0,
    label_noise: float = 0.0,
    label_fraction: float = 1.0,
) -> Split:
    """Return training images made harder in up to four ways, in this order; at their defaults nothing changes.

    Args:
        images: training images.
        num_classes: K.
        train_fraction: fraction of each class that is kept.
        long_tail: how many times the images of class K - 1 class 0 has: class k keeps long_tail^(-k / (K - 1)) of its
            images, at least one, the profile of LDAM, arXiv 1906.07413, section 4.
        label_noise: fraction of the images that get another class's label, uniformly drawn (symmetric noise).
        label_fraction: fraction of each class that keeps its labels.

    Raises:
        DataError: an image has several labels, or none, and label noise or a label fraction is asked for.
    """
    if train_fraction < 1:
        images = images.subset(_fraction(images, train_fraction))
    if long_tail > 1:
        images = images.subset(_long_tailed(images.first_labels(), num_classes, long_tail))
    if images.multi_label and (label_noise > 0 or label_fraction < 1):
        flag = "--label-noise" if label_noise > 0 else "--label-fraction"
        raise DataError(f"{flag} needs one label an image; some of these images have several, or none.")
    if label_noise > 0:
        images = images.relabeled(_noisy(images, num_classes, label_noise))
    if label_fraction < 1:
        kept = np.isin(np.arange(len(images)), _fraction(images, label_fraction))
        images = images.relabeled(np.where(kept, images.first_labels(), -1))
    return images


def _fraction(images: Split, fraction: float) -> list[int]:
    return stratified(images, max(1, round(fraction * len(images))), proportional=True)


def _long_tailed(labels: np.ndarray, num_classes: int, imbalance: float) -> np.ndarray:
    kept: list[int] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        fraction = imbalance ** (-max(0, label) / max(1, num_classes - 1))
        kept += own[: max(1, round(fraction * len(own)))].tolist()
    return np.array(sorted(kept), np.int64)


def _noisy(images: Split, num_classes: int, fraction: float) -> np.ndarray:
    labels = images.first_labels()
    for index, key in enumerate(images.keys()):
        drawn = derive_seed("label noise", key)
        # the lower 32 bits decide whether, the upper ones which
        if (drawn & 0xFFFFFFFF) * 2.0**-32 < fraction:
            labels[index] = (labels[index] + 1 + (drawn >> 32) % (num_classes - 1)) % num_classes
    return labels
