"""What does a row cost? The figures of docs/scale.md that depend on this code and not on a model.

    python benchmarks/scale.py [--rows 10000 100000 1000000] [--files 100000] [--images 4000]

- description set: bytes of a row beside its text; answers committed one by one, with the set at its full size; finding
  out what is missing
- merge: answers a second that go from one set into another of the same size
- images: time to list them and resident memory for each, in a folder of tiny files
- embedding set: bytes of an index row
- planning the vectors: texts a second that one process tokenizes and sorts into batches (builtin:minilm), which is what
  the driver of a Ray cluster does
- Ray: processor time of the driver for each image, without a model: bytes of 110 kB go to two workers on this machine,
  a text comes back

The texts are random words, 60 to 140 of them: only their length matters here.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightwords.descriptions.config import MergeConfig
from sightwords.descriptions.merge import merge
from sightwords.descriptions.questions import Target, Targets, Wanted, missing
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.text.encoders import open_encoder
from sightwords.text.plan import BatchRule, plan_block

WORDS = "a small bird with red wings stands on the long branch beside an old stone wall in front of water".split()  # noqa: SIM905
IMAGE_BYTES = 110_000
NUM_COMMITS = 3000


class Keys(Targets):
    """Images that exist by their keys alone."""

    def __init__(self, num_images: int) -> None:
        self.num_images = num_images
        self.per_class = False

    def __len__(self) -> int:
        return self.num_images

    def __iter__(self) -> Iterator[Target]:
        return (Target(key_of(i), f"train/class/{i}.jpg", "class", None) for i in range(self.num_images))


def key_of(number: int) -> str:
    return hashlib.sha256(number.to_bytes(8, "big")).hexdigest()


def text_of(number: int) -> str:
    draw = random.Random(number)
    return " ".join(draw.choices(WORDS, k=draw.randint(60, 140)))


def row(number: int, place: tuple[int, int]) -> Description:
    text = text_of(number)
    return Description(key_of(number), *place, 0, text, "ok", "", 300, 130, 0.5, created_at=1.7e9 + number)


def merging(scratch: Path, num_rows: int) -> None:
    """Show how fast one set takes over another."""
    paths = scratch / "one.db", scratch / "other.db"
    for path, first in zip(paths, (0, num_rows), strict=True):
        with DescriptionSet(path, create=True) as store:
            place = store.add_prompt(Prompt("plain", 1, "?")), store.add_describer(DescriberInfo("server:m", "m"))
            store.put(row(i, place) for i in range(first, first + num_rows))
    start_s = time.perf_counter()
    result = merge(MergeConfig(list(paths)))
    seconds = time.perf_counter() - start_s
    assert result.num_usable == 2 * num_rows
    print(f"merge of two sets of {num_rows} rows: {num_rows / seconds:.0f} rows/s", flush=True)


def planning(num_texts: int) -> None:
    """Show how fast texts become batches."""
    encoder = open_encoder("builtin:minilm", "cpu")
    texts = [text_of(i) for i in range(num_texts)]
    start_s = time.perf_counter()
    batches = plan_block(encoder, texts, 0, BatchRule(num_texts, 32_768, None))
    seconds = time.perf_counter() - start_s
    print(
        f"planning the vectors of {num_texts} texts: {num_texts / seconds:.0f} texts/s, "
        f"{sum(batch.num_tokens.sum() for batch in batches) / num_texts:.0f} tokens each",
        flush=True,
    )


def description_set(path: Path, num_rows: int) -> None:
    """Fill a set, then show its size, the rate of single commits, and the time to find what is missing."""
    with DescriptionSet(path, create=True) as store:
        place = store.add_prompt(Prompt("plain", 1, "Describe.")), store.add_describer(DescriberInfo("server:m", "m"))
        store.add_images((image.key, image.name, image.class_name) for image in Keys(num_rows))
        for start in range(0, num_rows, 50_000):
            store.put(row(i, place) for i in range(start, min(start + 50_000, num_rows)))
        store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        num_text = sum(len(text_of(i)) for i in range(0, num_rows, 97)) / len(range(0, num_rows, 97))
        num_bytes = path.stat().st_size / num_rows
        more = [row(i, place) for i in range(num_rows, num_rows + NUM_COMMITS)]
        start_s = time.perf_counter()
        for one in more:
            store.put([one])
        rate = NUM_COMMITS / (time.perf_counter() - start_s)
        start_s = time.perf_counter()
        num_missing = sum(1 for _ in missing(store, Keys(num_rows), Wanted(place, 1, 3, False, time.time())))
        missing_s = time.perf_counter() - start_s
    assert num_missing == 0
    print(
        f"description set of {num_rows} rows: {num_bytes:.0f} bytes a row, {num_bytes - num_text:.0f} beside the text; "
        f"{rate:.0f} commits/s; what is missing: {missing_s:.1f} s, {num_rows / missing_s:.0f} images/s",
        flush=True,
    )


def images(folder: Path, num_files: int) -> None:
    """List a folder twice, each time in a process of its own."""
    for i in range(num_files):
        path = folder / "train" / f"class{i % 100}" / f"{i:08d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(i.to_bytes(8, "big") * 8)
    environment = {**os.environ, "SIGHTWORDS_CACHE": str(folder / "cache")}
    for title in ("first", "second"):
        command = [sys.executable, __file__, "--list", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        seconds, growth = map(float, done.stdout.split())
        print(
            f"images, {title} listing of {num_files} tiny files: {seconds:.1f} s, {growth / num_files:.0f} bytes each"
        )


def listing(folder: Path) -> None:
    """Print the time and the growth of resident memory of listing a folder."""
    before, start_s = resident_bytes(), time.perf_counter()
    dataset = open_dataset(ImagesConfig(str(folder)), ("train",))
    print(time.perf_counter() - start_s, resident_bytes() - before)
    assert len(dataset.split("train"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def embedding_index(folder: Path, num_rows: int) -> None:
    """Show what an index row takes."""
    index = {
        "key": [key_of(i) for i in range(num_rows)],
        "prompt": ["plain"] * num_rows,
        "describer": ["server:m"] * num_rows,
        "sample": [0] * num_rows,
        "row": list(range(num_rows)),
    }
    EmbeddingSet.write(folder, np.zeros((num_rows, 1), np.float16), np.zeros(1), index, {"encoder": "none"})
    num_bytes = (folder / "index.parquet").stat().st_size
    print(f"embedding set of {num_rows} rows: {num_bytes / num_rows:.0f} bytes of index a row")


def make_answering(placement: Any) -> Callable[..., Iterator[tuple[int, str]]]:
    """Return what answers with a text of its own, whatever comes."""

    def answer(items: Sequence[bytes], stopping: Callable[[], bool]) -> Iterator[tuple[int, str]]:
        for position, item in enumerate(items):
            yield position, f"{position} {len(item)} " + "word " * 100

    return answer


def ray_driver(num_images: int) -> None:
    """Show what an image costs the driver of a Ray cluster."""
    from sightwords.cluster import Workers

    workers = Workers(make_answering, "local", wanted=2)
    data = os.urandom(IMAGE_BYTES)
    sum(1 for _ in workers.run((data for _ in range(64)), 32))  # the workers are there
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    num_answers = sum(1 for _ in workers.run((bytes(data) for _ in range(num_images)), 32))
    seconds, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    workers.close()
    assert num_answers == num_images
    print(f"Ray: {num_images / seconds:.0f} images/s, {1e6 * cpu_s / num_images:.0f} us of the driver's processor each")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=4000, help="through Ray; 0 leaves it out")
    parser.add_argument("--list", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.list:
        listing(options.list)
        return
    with tempfile.TemporaryDirectory() as scratch:
        for num_rows in options.rows:
            description_set(Path(scratch) / f"{num_rows}.db", num_rows)
        merging(Path(scratch), min(max(options.rows), 100_000))
        images(Path(scratch) / "images", options.files)
        embedding_index(Path(scratch) / "embeddings", max(options.rows))
    planning(min(max(options.rows), 20_000))
    if options.images:
        ray_driver(options.images)


if __name__ == "__main__":
    main()
