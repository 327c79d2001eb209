"""How long does `sightwords browse` take to answer, with a million descriptions?

    python benchmarks/browse.py [--rows 1000000] [--classes 1000] [--repeats 5] [--meaning] [--keep FOLDER]

A description set of that many images is made, each with a text of about 25 words of a vocabulary in which few words are
frequent (Zipf), one in fifty rejected, one in a thousand failed, all with a CLIP score. Then the index is built
as `sightwords browse` does, and the questions that the page asks are timed, each in a fresh state of SQLite's own cache
for the first time and then repeated: the table says the first and the median of all, and the processor's time, which
other work on the machine hardly changes. What a question needs beside the index, the count of what is found and the
rows of the 24 images of a page, is read as the page reads it. The time in the browser comes on top.

No other tool is compared: none has this task. The figures say whether a page comes well under a second.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

PAGE = 24
DIMENSION = 384
NUM_WORDS = 20_000
BATCH = 20_000


def key_of(number: int) -> str:
    """Return the key of an image that exists by its key alone."""
    return hashlib.sha256(number.to_bytes(8, "big")).hexdigest()


def texts(count: int, seed: int) -> list[str]:
    """Return texts of 15 to 35 words; word k is about as frequent as 1 / (k + 10)."""
    generator = np.random.default_rng(seed)
    shares = 1 / (np.arange(NUM_WORDS) + 10)
    words = generator.choice(NUM_WORDS, (count, 35), p=shares / shares.sum())
    lengths = generator.integers(15, 36, count)
    names = np.array([f"w{number}" for number in range(NUM_WORDS)])
    return [" ".join(row[:length]) for row, length in zip(names[words], lengths.tolist(), strict=True)]


def write_set(path: Path, rows: int, classes: int) -> None:
    """Write the description set."""
    from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
    from sightwords.descriptions.store import DescriptionSet

    def part(start: int) -> Iterator[Description]:
        generator = np.random.default_rng(start + 1)
        scores = generator.normal(0.28, 0.04, BATCH).tolist()
        for number, (text, score) in enumerate(
            zip(texts(min(BATCH, rows - start), start), scores, strict=False), start
        ):
            if number % 1000 == 7:
                yield Description(key_of(number), prompt, describer, 0, "", "failed", "timeout")
            elif number % 50 == 3:
                yield Description(key_of(number), prompt, describer, 0, text, "rejected", "repetition")
            else:
                yield Description(key_of(number), prompt, describer, 0, text, clip_score=score)

    with DescriptionSet(path, create=True) as store:
        prompt = store.add_prompt(Prompt("plain", 1, "Describe this image."))
        describer = store.add_describer(DescriberInfo("hf:synthetic", "synthetic"))
        for start in range(0, rows, BATCH):
            numbers = range(start, min(start + BATCH, rows))
            store.add_images((key_of(i), f"train/c{i % classes}/{i}.jpg", f"class {i % classes:04d}") for i in numbers)
            store.put(part(start))


def questions(rows: int) -> dict[str, dict[str, object]]:
    """Return what is asked, by name: fields of the query, and `from`, how far into the set the page begins, 0 to 1."""
    return {
        "first page": {},
        "page in the middle": {"from": 0.5},
        "last page": {"from": 1 - 100 / rows},
        "search: a frequent word": {"words": "w3"},
        "search: a rare word": {"words": "w15000"},
        "search: two words": {"words": "w40 w41"},
        "search: a phrase": {"words": '"w1 w2"'},
        "search: a begun word (w12*)": {"words": "w12*"},
        "filter: a class": {"class_name": "class 0007"},
        "filter: rejected": {"status": "rejected"},
        "filter: a reason": {"reason": "timeout"},
        "filter: CLIP score up to 0.2": {"clip_score_below": 0.2},
        "class and rejected": {"class_name": "class 0003", "status": "rejected"},
        "frequent word and class": {"words": "w3", "class_name": "class 0007"},
        "frequent word and failed (none)": {"words": "w3", "status": "failed"},
    }


def ask(set_path: Path, folder: Path, rows: int, fields: dict[str, object]) -> tuple[float, float]:
    """Return the seconds of one question with connections of its own, and those of the processor for it."""
    from sightwords.browsing.index import DescriptionIndex
    from sightwords.browsing.query import Query, count, read_page
    from sightwords.descriptions.store import DescriptionSet

    index, fields = DescriptionIndex(set_path, folder), dict(fields)
    begin = fields.pop("from", None)
    after = (0.0, int(rows * float(str(begin)))) if begin is not None else None
    query = Query(order="oldest", after=after, **fields)  # type: ignore[arg-type]
    with DescriptionSet(set_path) as store:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        hits, _ = read_page(index, query, PAGE)
        count(index, query)
        for hit in hits:
            store.current(hit.key)
        return time.perf_counter() - start_s, time.process_time() - start_cpu_s


def timed(repeats: int, call: Callable[[], tuple[float, float]]) -> tuple[float, float, float]:
    """Return the first time, the median of all, and the median time of the processor."""
    times = [call() for _ in range(repeats)]
    return times[0][0], median(time for time, _ in times), median(cpu for _, cpu in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--meaning", action="store_true", help="search by meaning too; writes 0.8 GB for a million")
    parser.add_argument("--keep", type=Path, help="folder that keeps set and index for another run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        run(folder, options)


def run(folder: Path, options: argparse.Namespace) -> None:
    """Make what is missing, then print the table."""
    from sightwords.browsing.index import DescriptionIndex

    path = folder / f"{options.rows}.db"
    if not path.exists():
        start_s = time.perf_counter()
        write_set(path, options.rows, options.classes)
        print(f"the set: {time.perf_counter() - start_s:.0f} s, {path.stat().st_size / 1e6:.0f} MB", flush=True)
    index = DescriptionIndex(path, folder)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    parts = 1
    while index.sync():
        if parts == 1:
            print(f"first 2,000 descriptions indexed after {time.perf_counter() - start_s:.2f} s", flush=True)
        parts += 1
    size_mb = sum(file.stat().st_size for file in folder.glob(f"{index.file.name}*")) / 1e6
    cpu_s = time.process_time() - start_cpu_s
    print(f"index: {time.perf_counter() - start_s:.1f} s ({cpu_s:.0f} s of one core), {size_mb:.0f} MB", flush=True)
    print(f"\n{'question':34}{'first ms':>10}{'median ms':>11}{'processor ms':>14}")
    for name, fields in questions(options.rows).items():
        first, middle, cpu = timed(options.repeats, lambda fields=fields: ask(path, folder, options.rows, fields))  # type: ignore[misc]
        show(name, first, middle, cpu)
    if options.meaning:
        search_by_meaning(folder, options)


def show(name: str, first: float, middle: float, cpu: float) -> None:
    """Print a row of the table."""
    print(f"{name:34}{1000 * first:10.0f}{1000 * middle:11.0f}{1000 * cpu:14.0f}", flush=True)


def search_by_meaning(folder: Path, options: argparse.Namespace) -> None:
    """Time the 24 images nearest to a sentence among random vectors of builtin:minilm's width, each sentence new."""
    from sightwords.browsing.browser import SemanticSearch
    from sightwords.text.embedding_set import EmbeddingSet

    vectors = folder / "vectors"
    if not vectors.exists():
        write_vectors(vectors, options.rows)
    search = SemanticSearch(vectors)
    assert EmbeddingSet(vectors).dimension == DIMENSION
    numbers = iter(range(options.repeats + 1))

    def rank() -> tuple[float, float]:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        list(islice(search.ranked(f"a bird with number {next(numbers)}"), PAGE))
        return time.perf_counter() - start_s, time.process_time() - start_cpu_s

    show("meaning: encoder and keys loaded", *timed(1, rank))
    show("meaning", *timed(options.repeats, rank))


def write_vectors(folder: Path, rows: int) -> None:
    """Write an embedding set with a vector for each image."""
    import pyarrow as pa

    from sightwords.text.embedding_set import EmbeddingSet

    generator = np.random.default_rng(0)
    file = folder.with_suffix(".npy")
    array = np.lib.format.open_memmap(file, "w+", np.float16, (rows, DIMENSION))
    for start in range(0, rows, BATCH):
        block = generator.standard_normal((min(BATCH, rows - start), DIMENSION), np.float32)
        array[start : start + BATCH] = block / np.linalg.norm(block, axis=1, keepdims=True)
    array.flush()
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["plain"])
    index = {
        "key": pa.array([key_of(number) for number in range(rows)]),
        "prompt": names,
        "describer": names,
        "sample": pa.array(np.zeros(rows, np.int32)),
        "row": pa.array(np.arange(rows)),
    }
    EmbeddingSet.write(folder, file, np.zeros(DIMENSION), index, {"encoder": "builtin:minilm"})


if __name__ == "__main__":
    main()
