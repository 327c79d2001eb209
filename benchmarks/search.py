"""How long does a sentence take among a million images? Exact search of a mapped index, against whole-matrix products.

    python benchmarks/search.py [--rows 1000000] [--dimension 384] [--top 20] [--repeats 5]

A file of unit vectors in float16, as an embedding set has them, and one query. Everything is in the
system's cache; imports are left out. Ways take turns, each in a process of its own; medians.

- ours: `nearest_rows` of the mapped file, block by block
- numpy: the file read as float32, one product, `argpartition`: what a script would do
- numpy, loaded: the product and `argpartition` alone, the float32 matrix being in memory already
- torch: the file read as float16, one product in float16, `topk`: not exact, products are rounded to 11 bits

Memory is what the process needs beyond its start: anonymous memory at its peak, which cannot be dropped; the mapped
file's pages, which the system may drop at any time, are left out. All exact ways must give the same rows.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from pairs import machine, processes
from sightwords.text.embedding_set import nearest_rows

BLOCK_ROWS = 50_000
EXACT = ("ours", "numpy", "numpy, loaded")


def write_index(path: Path, rows: int, dimension: int) -> None:
    """Write random unit vectors."""
    vectors = np.lib.format.open_memmap(path, "w+", np.float16, (rows, dimension))
    draw = np.random.default_rng(0)
    for start in range(0, rows, BLOCK_ROWS):
        block = draw.standard_normal((min(BLOCK_ROWS, rows - start), dimension), np.float32)
        vectors[start : start + BLOCK_ROWS] = block / np.linalg.norm(block, axis=1, keepdims=True)
    vectors.flush()


def query_of(dimension: int) -> np.ndarray:
    """Return the query, float32, (1, D), unit length."""
    query = np.random.default_rng(1).standard_normal((1, dimension)).astype(np.float32)
    return np.asarray(query / np.linalg.norm(query))


def ours(path: Path, query: np.ndarray, top: int) -> Callable[[], list[int]]:
    """Search as `sightwords search` does."""
    return lambda: nearest_rows(np.load(path, mmap_mode="r"), query, top)[1][0].tolist()


def _whole(matrix: np.ndarray, query: np.ndarray, top: int) -> list[int]:
    products = matrix @ query[0]
    best = np.argpartition(-products, top)[:top]
    return [int(row) for row in best[np.argsort(-products[best], kind="stable")]]


def whole_numpy(path: Path, query: np.ndarray, top: int) -> Callable[[], list[int]]:
    """Read the file as float32 and multiply."""
    return lambda: _whole(np.load(path).astype(np.float32), query, top)


def loaded_numpy(path: Path, query: np.ndarray, top: int) -> Callable[[], list[int]]:
    """Multiply a matrix that is there."""
    matrix = np.load(path).astype(np.float32)
    return lambda: _whole(matrix, query, top)


def half_torch(path: Path, query: np.ndarray, top: int) -> Callable[[], list[int]]:
    """Read the file and multiply in float16."""
    half = torch.from_numpy(query[0]).half()
    return lambda: (torch.from_numpy(np.load(path)) @ half).float().topk(top).indices.tolist()


WAYS = {"ours": ours, "numpy": whole_numpy, "numpy, loaded": loaded_numpy, "torch, float16": half_torch}


def anonymous_mb() -> float:
    """Return this process's anonymous memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    raise ValueError("no RssAnon")


class Peak:
    """Watches the anonymous memory in a thread."""

    def __enter__(self) -> Peak:
        self.mb, self._done = anonymous_mb(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self.mb = max(self.mb, anonymous_mb())


def alone(way: str, path: Path, dimension: int, top: int) -> dict[str, Any]:
    """Measure a way in this process: one search to warm up, one that counts."""
    query = query_of(dimension)
    torch.ones(256, 256) @ torch.ones(256, 256)  # what libraries set up at their first product
    before = anonymous_mb()
    with Peak() as peak:
        search = WAYS[way](path, query, top)
        search()
        start_s, cpu_s = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
        rows = search()
        seconds, end = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_SELF)
    spent = end.ru_utime + end.ru_stime - cpu_s.ru_utime - cpu_s.ru_stime
    return {"seconds": seconds, "cpu_s": spent, "mb": peak.mb - before, "rows": rows}


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """Print medians and ratios to ours."""
    middle = {
        way: {k: median(one[k] for one in runs) for k in ("seconds", "cpu_s", "mb")} for way, runs in found.items()
    }
    print(f"{'':16}{'seconds':>9}{'processor s':>13}{'MB':>8}{'time / ours':>13}{'MB / ours':>11}")
    for way, one in middle.items():
        ratio, memory = (one[k] / (middle["ours"][k] or float("nan")) for k in ("seconds", "mb"))
        print(f"{way:16}{one['seconds']:9.2f}{one['cpu_s']:13.2f}{one['mb']:8.0f}{ratio:13.2f}{memory:11.1f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the index, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where the index is made; 1 million rows of 384 take 768 MB")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch, processes() as own_process:
        path = Path(scratch) / "vectors.npy"
        write_index(path, options.rows, options.dimension)
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(options.repeats):
            for way in WAYS:
                found[way].append(own_process(alone, way, path, options.dimension, options.top))
    assert len({str(one["rows"]) for way in EXACT for one in found[way]}) == 1, "the exact ways differ"
    print(f"{machine()}, {torch.get_num_threads()} threads")
    print(f"{options.rows} vectors of {options.dimension}, the best {options.top}; {options.repeats} rounds")
    show(found)


if __name__ == "__main__":
    main()
