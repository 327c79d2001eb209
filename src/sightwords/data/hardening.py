"""Harder training sets out of the one that is there: fewer images, rare classes, wrong labels, few labels.

Each is a function of the image keys alone: the same for every network, seed and machine, and a stronger setting keeps
what a weaker one did (of the images that a fraction of 0.5 takes, 0.25 takes half).
"""

from __future__ import annotations

import numpy as np

from sightwords.data.image_set import ImageSet
from sightwords.data.randomness import derive_seed
from sightwords.data.sample import stratified
from sightwords.errors import DataError

_UNIT = 2.0**-32


def harden(
    images: ImageSet,
    num_classes: int,
    train_fraction: float = 1.0,
    long_tail: float = 1.0,
    label_noise: float = 0.0,
    label_fraction: float = 1.0,
) -> ImageSet:
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


def thinned(images: ImageSet, fraction: float) -> ImageSet:
    """Return a share of the images, of each class alike."""
    return images.subset(stratified(images, max(1, round(fraction * len(images))), proportional=True))


def long_tailed(images: ImageSet, num_classes: int, imbalance: float) -> ImageSet:
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


def with_label_noise(images: ImageSet, num_classes: int, share: float) -> ImageSet:
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


def with_few_labels(images: ImageSet, fraction: float) -> ImageSet:
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
