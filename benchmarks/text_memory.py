"""How much memory do the text vectors take in a training, beside the network?

    python benchmarks/text_memory.py [--rows 1300000] [--dimension 1024] [--workers 0 1 2] [--epochs 2] [--repeats 3]

An embedding set of ImageNet's size is made in the real format (vectors in float16, one for each image), and training
processes read batches from it with the real `EmbeddingSet`, `TextJoin` and loader, with 0, 1 and 2 loader processes, in
two epochs. All images are one tiny file under keys of their own, so that what is measured is the text. Wanted: under 50
MB in each process, the same for any number of loader processes, and the same in each epoch.

- without: the same training without text
- ours: with the text; only the training images' rows are held, the vectors stay in the file, which is mapped
- peer: the matrix as the method's authors load it, `torch.load` of all vectors in float32, in every process of a
  training; read at --peer-share of the rows, and reckoned up to all of them

Memory is anonymous memory, which is what cannot be dropped and read again from a file: of the training process all
that it holds (`Anonymous` of smaps_rollup); of a loader process what it holds alone (`Private_Dirty`; the rest it
shares with the process that forked it); in all, every page once (`Pss_Anon` of all). The page cache is left out. Each
arm runs in a process of its own, and arms take turns; medians. What is said of the text is the arm less `without`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pairs import processes

MB = 1e6
ARMS = ("without", "ours", "peer")
BATCH_SIZE = 256
BLOCK_ROWS = 8192


def memory(process: int | str, name: str) -> float:
    """Return a figure of a process's memory, in MB."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / MB
    raise ValueError(f"no {name}")


def key_of(number: int) -> str:
    """Return the key of an image that exists by its key alone."""
    return hashlib.sha256(number.to_bytes(8, "big")).hexdigest()


def write_set(folder: Path, rows: int, dimension: int) -> None:
    """Write the embedding set; its vectors are one block of normalized rows, again and again."""
    from sightwords.text.embedding_set import EmbeddingSet

    block = np.random.default_rng(0).standard_normal((min(BLOCK_ROWS, rows), dimension), np.float32)
    block = (block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float16)
    file = folder.with_suffix(".npy")
    vectors = np.lib.format.open_memmap(file, "w+", np.float16, (rows, dimension))
    for start in range(0, rows, len(block)):
        vectors[start : start + len(block)] = block[: rows - start]
    vectors.flush()
    index = {
        "key": [key_of(number) for number in range(rows)],
        "prompt": ["plain"] * rows,
        "describer": ["server:m"] * rows,
        "sample": np.zeros(rows, np.int32),
        "row": np.random.default_rng(1).permutation(rows),
    }
    EmbeddingSet.write(folder, file, block.mean(0), index, {"encoder": "none"})


def write_peer(file: Path, rows: int, dimension: int) -> None:
    """Write the matrix of the peer."""
    import torch

    torch.save(torch.full((rows, dimension), 0.5), file)


def split(folder: Path, count: int) -> Any:
    """Return the training images: one file under many keys."""
    from PIL import Image

    from sightwords.images.dataset import Split
    from sightwords.images.references import ImageReference

    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "white").save(buffer, "PNG")
    file = folder / "image.png"
    if not file.is_file():
        file.write_bytes(buffer.getvalue())
    member = ImageReference(str(file), "image.png")
    return Split.of([member] * count, [key_of(number) for number in range(count)], [[0]] * count)


def text_of(arm: str, folder: Path, images: Any) -> Any:
    """Return what the loader calls for the text of a batch, None without text."""
    import torch

    from sightwords.text.embedding_set import EmbeddingSet
    from sightwords.training.config import AlignConfig
    from sightwords.training.data import TextJoin

    if arm == "without":
        return None
    if arm == "ours":
        embeddings = EmbeddingSet(folder / "set")
        text = TextJoin(embeddings, embeddings.rows_of(images.keys()), images, 0, AlignConfig())
        return lambda indices, epoch: [text(indices, epoch)]
    matrix = torch.load(folder / "peer.pt")
    return lambda indices, epoch: [matrix[torch.from_numpy(indices) % len(matrix)]]


def watch(arm: str, folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train in this process, without a network, and return what it holds after each epoch's steps."""
    import pyarrow as pa

    from sightwords.images.config import AugmentConfig
    from sightwords.images.loader import TrainOrder, train_loader
    from sightwords.images.transforms import InputSize, TrainTransform

    images = split(folder, options.rows)
    pa.default_memory_pool().release_unused()  # of making the images; else what the text adds would hide in it
    join = text_of(arm, folder, images)
    order = TrainOrder(len(images), min(BATCH_SIZE, len(images)), 0)
    transform = TrainTransform(AugmentConfig(), InputSize(16), 0)
    found = []
    for workers in options.workers:
        for epoch in range(options.epochs):
            first = epoch * order.steps_per_epoch
            last = first + min(options.steps, order.steps_per_epoch)
            batches = iter(train_loader(images, 1, transform, order, first, last, workers, join=join))
            for _ in range(first, last - 1):
                next(batches)
            children = [worker.pid for worker in getattr(batches, "_workers", [])]
            found.append(
                {
                    "workers": workers,
                    "epoch": epoch + 1,
                    "process": memory("self", "Anonymous"),
                    "loader": max((memory(child, "Private_Dirty") for child in children), default=0.0),
                    "all": sum(memory(process, "Pss_Anon") for process in ["self", *children]),
                }
            )
            del batches
    return found


def show(found: dict[str, list[list[dict[str, Any]]]], scale: float) -> None:
    """Print, for each number of loader processes and each epoch, what the text adds."""
    print(
        f"{'loaders':>8}{'epoch':>6}  {'text adds, MB: process':24}{'loader':>8}{'in all':>9}{'peer':>16}  ours / peer"
    )
    for place, base in enumerate(found["without"][0]):
        added = {
            arm: {
                part: median(
                    ours[place][part] - base[place][part]
                    for ours, base in zip(found[arm], found["without"], strict=True)
                )
                for part in ("process", "loader", "all")
            }
            for arm in ("ours", "peer")
        }
        ours, peer = added["ours"], added["peer"]["process"] * scale
        print(
            f"{base['workers']:8}{base['epoch']:6}  {ours['process']:24.1f}{ours['loader']:8.1f}{ours['all']:9.1f}"
            f"{peer:16.0f}{ours['process'] / peer:13.4f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_300_000)
    parser.add_argument("--dimension", type=int, default=1024)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20, help=f"of {BATCH_SIZE} images, in each epoch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-share", type=float, default=0.25, help="share of the rows that the peer loads")
    parser.add_argument("--scratch", type=Path, help="where the set is made; it takes 2.2 KB a row")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch, processes() as own_process:
        folder, peer_rows = Path(scratch), int(options.rows * options.peer_share)
        write_set(folder / "set", options.rows, options.dimension)
        write_peer(folder / "peer.pt", peer_rows, options.dimension)
        print(f"{options.rows} vectors of {options.dimension}; the peer loads {peer_rows} of them, reckoned up to all")
        found: dict[str, list[list[dict[str, Any]]]] = {arm: [] for arm in ARMS}
        for _ in range(options.repeats):
            for arm in ARMS:
                found[arm].append(own_process(watch, arm, folder, options))
        show(found, options.rows / peer_rows)


if __name__ == "__main__":
    main()
