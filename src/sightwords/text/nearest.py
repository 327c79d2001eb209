"""The rows of a large matrix of vectors that are nearest to a query: exact, block by block, the matrix mapped.

Shapes: N rows, D their width, Q queries.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

BLOCK_BYTES = 64 * 2**20  # of float32 at a time: with a quarter of it, waiting for threads took a third of the time


def nearest_rows(
    vectors: np.ndarray,
    queries_QD: np.ndarray,
    count: int,
    wanted: np.ndarray | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return products and rows of the nearest vectors, nearest first; equal ones in the order of their rows.

    Memory is that of a block, however many rows there are: each is read once from where it is mapped.

    Args:
        vectors: (N, D), any float type; of unit length, so that products are cosines.
        queries_QD: (Q, D), float32, of unit length.
        count: rows to return for each query; fewer come where there are fewer.
        wanted: (N,) boolean, the rows that may be returned; None allows all.
        transform: what a block of vectors goes through first, float32 in and out.

    Returns:
        (Q, count) products, float32, and (Q, count) rows, int64.
    """
    count = min(count, len(vectors) if wanted is None else int(wanted.sum()))
    best, rows = torch.empty(len(queries_QD), 0), torch.empty(len(queries_QD), 0, dtype=torch.int64)
    for start, products in _block_products(vectors, queries_QD, transform):
        if wanted is not None:
            products[:, torch.from_numpy(~wanted[start : start + products.shape[1]])] = -torch.inf
        found, places = products.topk(min(count, products.shape[1]), dim=1)
        best, rows = _merged(torch.cat([best, found], 1), torch.cat([rows, places + start], 1), count)
    return best.numpy(), rows.numpy()


def all_products(vectors: np.ndarray, query_D: np.ndarray) -> np.ndarray:
    """Return the product of every row with a query, float32, (N,); memory beside it is that of a block.

    Args:
        vectors: (N, D), any float type.
        query_D: (D,), float32.
    """
    products = np.empty(len(vectors), np.float32)
    for start, found in _block_products(vectors, query_D[None]):
        products[start : start + found.shape[1]] = found[0].numpy()
    return products


def _block_products(
    vectors: np.ndarray, queries_QD: np.ndarray, transform: Callable[[Tensor], Tensor] | None = None
) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of each block of B rows, and the products of all queries with them, float32, (Q, B)."""
    queries = torch.from_numpy(np.ascontiguousarray(queries_QD, np.float32))
    num_rows, width = vectors.shape
    step = max(1, BLOCK_BYTES // (4 * width))
    buffer = torch.empty(min(step, num_rows), width)
    for start in range(0, num_rows, step):
        block = _read(vectors, start, start + step, buffer)
        yield start, queries @ (transform(block) if transform else block).T


def _read(vectors: np.ndarray, start: int, end: int, buffer: Tensor) -> Tensor:
    """Return rows as float32, in memory that is used again for each block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of memory that it may not write to, and only reads it here
        part = torch.from_numpy(vectors[start:end].view(np.ndarray))
    return buffer[: len(part)].copy_(part)


def _merged(products: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the best of what came so far and of a block, in order."""
    by_row = rows.argsort(dim=1)  # topk leaves equal ones in any order
    products, rows = products.gather(1, by_row), rows.gather(1, by_row)
    order = products.argsort(dim=1, descending=True, stable=True)[:, :count]
    return products.gather(1, order), rows.gather(1, order)
