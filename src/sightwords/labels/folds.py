"""Parts for cross-validation, in which no image vouches for itself.

Shapes: N images, R texts.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def groups_of(owners: np.ndarray, rows: np.ndarray, num_images: int) -> np.ndarray:
    """Return a number for each image, the same for images that share a text, int64, (N,).

    Images with one text must be judged together: else the text would vouch for itself.

    Args:
        owners: image of each description, (R,).
        rows: text of each description, (R,).
        num_images: N.
    """
    texts = rows.astype(np.int64) + num_images
    size = int(texts.max(initial=num_images)) + 1
    graph = coo_array((np.ones(len(owners), np.int8), (owners, texts)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][:num_images], np.int64)


def folds_of(groups: np.ndarray, labels: np.ndarray, num_folds: int, seed: int) -> np.ndarray:
    """Return the part of each image, int64, (N,): groups stay together, and each class is spread evenly.

    Args:
        groups: see `groups_of`.
        labels: classes; a group counts as the class of its first image.
        num_folds: parts; at most as many as there are groups.
        seed: of the order within a class.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).permutation(len(first)), labels[first]))
    fold = np.empty(len(first), np.int64)
    fold[order] = np.arange(len(first)) % min(num_folds, len(first))
    return np.asarray(fold[group])
