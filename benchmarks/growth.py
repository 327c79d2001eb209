"""Does anything grow faster than the data?

    python benchmarks/growth.py [--images 1000 10000 100000] [--rows 10000 100000 1000000] [--plot FILE.png]

Time and memory of each operation that touches all images (drawn, 16 x 16 pixels, all different) or all descriptions
(made-up texts of about 450 letters), at sizes ten times apart; `--images 1000000` and `--rows 10000000` go further.
Where a peer does the same work barely, it takes turns with ours; `ours / peer` is the median ratio of the largest size.

- list: list a folder of images and hash each; peer: torchvision's ImageFolder, and SHA-256 of each file
- list again: the same with the keys known
- import: `sightwords.import_descriptions` of a JSON Lines file that names each image's path, keys known
- insert: store descriptions in the order of their keys; peer: bare sqlite3, a table of key and text with the key as its
  primary key
- iterate: read all descriptions in the order of their keys; peer: bare sqlite3, the same of that table
- index: collect the distinct texts and the index of an embedding set (what `embed` does beside the encoder), write it
- join: find the vectors of all images in the index; peer: a dict from key to row
- processes: images a second of a tiny training in one and in two processes (torchrun, gloo), with one thread each

Each figure is of a process of its own. Time is processor time, which other work on the machine disturbs less than the
clock; files lie in the page cache. Memory is the peak beyond what was held when the libraries were loaded. The
`exponent` is the slope of the logarithms from the smallest to the largest size, and `at the end` of the last two:
1 is linear. What grows with an exponent above 1.15 at the end is marked as faster than linear.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from pairs import processes

TOLERANCE = 0.15
SIDE = 16
FILLER = "a small bird with red wings stands on the long branch beside an old stone wall in front of water " * 5
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a8a")
TRAINING = "--model resnet10t --image-size 32 --batch-size 64 --epochs 2 --workers 0 --device cpu --eval-every 2"


class Found(NamedTuple):
    """Seconds of the processor, and MB of memory beyond the libraries."""

    seconds: float
    mb: float


def png(number: int) -> bytes:
    """Return a picture that no other number has."""
    pixels = hashlib.shake_128(number.to_bytes(8, "big")).digest(SIDE * SIDE)
    lines = b"".join(b"\0" + pixels[start : start + SIDE] for start in range(0, len(pixels), SIDE))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(lines, 1)))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in (*parts, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def draw_images(folder: Path, count: int) -> None:
    """Write a folder of training images in 100 classes, a few for validation, and their descriptions' table."""
    if folder.exists():
        return
    with (folder.parent / f"{folder.name}.jsonl").open("w") as table:
        for number in range(count + 200):
            split = "train" if number < count else "val"
            file = folder / split / f"class{number % 100}" / f"{number:08d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(number))
            table.write(json.dumps({"image": f"{split}/class{number % 100}/{number:08d}.png", "text": text_of(number)}))
            table.write("\n")


def key_of(number: int) -> str:
    """Return a key; they come in ascending order, as image sets have them and as descriptions are asked for."""
    return f"{number << 36:016x}{hashlib.sha256(number.to_bytes(8, 'big')).hexdigest()[:48]}"


def text_of(number: int) -> str:
    return f"{number} {FILLER}"


def fresh(file: Path) -> Path:
    """Return a path of an SQLite file that is not there."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    return file


def list_images(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.images.config import ImagesConfig
    from sightwords.images.dataset import open_dataset

    fresh(Path(os.environ["SIGHTWORDS_CACHE"]) / "key.sqlite")
    return lambda: open_dataset(ImagesConfig(str(folder / f"images{size}")), show=False)


def list_again(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.images.config import ImagesConfig
    from sightwords.images.dataset import open_dataset

    return lambda: open_dataset(ImagesConfig(str(folder / f"images{size}")), show=False)


def bare_list(folder: Path, size: int) -> Callable[[], object]:
    from torchvision.datasets import ImageFolder

    def work() -> list[str]:
        splits = [ImageFolder(str(folder / f"images{size}" / split)) for split in ("train", "val")]
        return [hashlib.sha256(Path(file).read_bytes()).hexdigest() for one in splits for file, _ in one.samples]

    return work


def import_all(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.descriptions.config import ImportConfig
    from sightwords.descriptions.import_ import import_descriptions as run

    out = fresh(folder / "imported.db")
    return lambda: run(ImportConfig(folder / f"images{size}.jsonl", images=str(folder / f"images{size}"), out=out))


def insert(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
    from sightwords.descriptions.store import DescriptionSet

    def rows(place: tuple[int, int]) -> Iterator[Description]:
        for number in range(size):
            yield Description(key_of(number), *place, 0, text_of(number), "ok", "", 300, 130, 0.5, created_at=1.7e9)

    def work() -> None:
        with DescriptionSet(fresh(folder / f"{size}.db"), create=True) as store:
            store.put(rows((store.add_prompt(Prompt("plain", 1, "?")), store.add_describer(DescriberInfo("s:m", "m")))))

    return work


def bare_insert(folder: Path, size: int) -> Callable[[], object]:
    def work() -> None:
        connection = sqlite3.connect(fresh(folder / f"bare{size}.db"))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE texts (key TEXT PRIMARY KEY, text TEXT NOT NULL)")
        with connection:
            rows = ((key_of(number), text_of(number)) for number in range(size))
            connection.executemany("INSERT INTO texts VALUES (?, ?)", rows)
        connection.close()

    return work


def iterate(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.descriptions.store import DescriptionSet

    def work() -> None:
        with DescriptionSet(folder / f"{size}.db") as store:
            assert sum(1 for _ in store.select()) == size

    return work


def bare_iterate(folder: Path, size: int) -> Callable[[], object]:
    def work() -> None:
        connection = sqlite3.connect(folder / f"bare{size}.db")
        assert sum(1 for _ in connection.execute("SELECT key, text FROM texts ORDER BY key")) == size

    return work


def index(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.text.config import EmbedConfig
    from sightwords.text.embed import read_texts
    from sightwords.text.embedding_set import EmbeddingSet

    config = EmbedConfig(folder / f"{size}.db", out=folder / f"set{size}")

    def work() -> None:
        texts = read_texts(config)
        EmbeddingSet.write(config.out, np.zeros((len(texts.distinct), 1), np.float16), np.zeros(1), texts.index, {})

    return work


def join(folder: Path, size: int) -> Callable[[], object]:
    from sightwords.text.embedding_set import EmbeddingSet

    keys = [key_of(number) for number in range(size)]

    def work() -> None:
        assert len(EmbeddingSet(folder / f"set{size}").rows_of(keys).rows) == size

    return work


def bare_join(folder: Path, size: int) -> Callable[[], object]:
    import pyarrow.parquet as pq

    keys = [key_of(number) for number in range(size)]

    def work() -> None:
        table = pq.read_table(folder / f"set{size}" / "index.parquet", columns=["key", "row"])
        rows = dict(zip(table["key"].to_pylist(), table["row"].to_pylist(), strict=True))
        assert len([rows[key] for key in keys]) == size

    return work


Operation = Callable[[Path, int], Callable[[], object]]
OF_IMAGES: dict[str, Operation] = {"list": list_images, "list again": list_again, "import": import_all}
OF_ROWS: dict[str, Operation] = {"insert": insert, "iterate": iterate, "index": index, "join": join}
PEERS: dict[str, Operation] = {
    "list": bare_list, "insert": bare_insert, "iterate": bare_iterate, "join": bare_join,
}  # fmt: skip


def resident_mb(name: str) -> float:
    """Return VmRSS (now) or VmHWM (at most) of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / 1e6


def alone(folder: Path, size: int, operation: Operation) -> tuple[float, float]:
    """Run an operation in this process and return what `Found` holds."""
    os.environ["SIGHTWORDS_CACHE"] = str(folder / "cache")
    work = operation(folder, size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = resident_mb("VmRSS"), time.process_time()
    work()
    return time.process_time() - start, max(0.1, resident_mb("VmHWM") - before)


def grow(folder: Path, name: str, sizes: Sequence[int], repeats: int) -> dict[int, Found]:
    """Measure an operation at all sizes, print its line, and return medians."""
    found, ratio, operation = {}, math.nan, {**OF_IMAGES, **OF_ROWS}[name]
    for size in sizes:
        ours, peer = [], []
        with processes() as own_process:
            for _ in range(repeats):
                ours.append(Found(*own_process(alone, folder, size, operation)))
                peer += [Found(*own_process(alone, folder, size, PEERS[name]))] if name in PEERS else []
        found[size] = Found(median(one.seconds for one in ours), median(one.mb for one in ours))
        ratio = median(a.seconds / b.seconds for a, b in zip(ours, peer, strict=True)) if peer else math.nan
    figures = "  ".join(f"{size:>9,}: {one.seconds:8.3f} s {one.mb:7.1f} MB" for size, one in found.items())
    verdicts = [verdict(sizes, [one[i] for one in found.values()]) for i in range(2)]
    shown = "" if math.isnan(ratio) else f"  ours / peer {ratio:.2f}"
    print(f"{name:11}{figures}\n{'':11}time: {verdicts[0]}; memory: {verdicts[1]}{shown}", flush=True)
    return found


def verdict(sizes: Sequence[int], values: Sequence[float]) -> str:
    """Return how a figure grows, in words."""
    if len(sizes) < 2:
        return "one size"
    whole, end = (
        math.log(values[-1] / values[first]) / math.log(sizes[-1] / sizes[first]) for first in (0, len(sizes) - 2)
    )
    words = "FASTER THAN LINEAR" if end > 1 + TOLERANCE else "linear or slower"
    return f"exponent {whole:.2f}, at the end {end:.2f}, {words}"


def train(images: Path, out: Path, num_processes: int) -> float:
    """Return the images a second of the second epoch of a training."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes)]
    command = [sys.executable, *launch, "-m", "sightwords", "train", str(images), "--out", str(out), *TRAINING.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SIGHTWORDS_CACHE": str(images.parent / "cache")}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return float(json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["images_per_second"])


def one_and_two(folder: Path, images: int, repeats: int) -> None:
    """Print the throughput of one and two processes, which take turns."""
    draw_images(folder / f"images{images}", images)
    found = [
        [train(folder / f"images{images}", folder / f"run{turn}-{num}", num) for num in (1, 2)]
        for turn in range(repeats)
    ]
    one, two = (median(pair[i] for pair in found) for i in range(2))
    ratio = median(pair[1] / pair[0] for pair in found)
    print(f"processes  1: {one:.0f} images/s  2: {two:.0f} images/s  2 / 1: {ratio:.2f} (at best 2)", flush=True)


def draw(file: Path, found: dict[str, dict[int, Found]]) -> None:
    """Draw time and memory over size, both logarithmic."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
    }
    with rc_context(style):
        figure = Figure(figsize=(10, 4.4))
        panels = figure.subplots(1, 2)
        for part, (axes, title) in enumerate(zip(panels, ("Processor time, seconds", "Peak memory, MB"), strict=True)):
            for color, (name, sizes) in zip(COLORS, found.items(), strict=False):
                line = "o-" if name in OF_ROWS else "s--"
                axes.loglog(list(sizes), [one[part] for one in sizes.values()], line, color=color, label=name, ms=4)
            low, high = axes.get_xlim()
            start = axes.get_ylim()[0]
            axes.plot([low, high], [start, start * high / low], ":", color="#555555", label="linear")
            axes.set(title=title, xlabel="images (squares, dashed) or descriptions (dots)", xlim=(low, high))
            axes.grid(alpha=0.3)
        panels[1].legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=130)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--train-images", type=int, default=1000, help="of the training; 0 leaves it out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="PNG file to draw")
    parser.add_argument("--folder", type=Path, help="folder for images and sets, which stay [default: one that goes]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder, found = options.folder or Path(scratch), {}
        (folder / "cache").mkdir(parents=True, exist_ok=True)
        for size in options.images:
            draw_images(folder / f"images{size}", size)
        for operations, sizes in ((OF_IMAGES, options.images), (OF_ROWS, options.rows)):
            for name in operations if sizes else ():
                found[name] = grow(folder, name, sizes, options.repeats)
        if options.train_images:
            one_and_two(folder, options.train_images, options.repeats)
    if options.plot:
        draw(options.plot, found)


if __name__ == "__main__":
    main()
