"""What does it cost to index a folder of many small files, the first time and the second?

    python benchmarks/index.py [--files 1300000] [--classes 1000] [--repeats 3] [--folder KEPT]

Files of 20 bytes, train/CLASS/*.jpg, all different; nothing decodes them. Each measurement is a process of its own,
forked from one that has imported everything, and the ways take turns, so that a busy machine is as busy for all of
them; medians.

- `hash`: open and read every file and take its SHA-256, in one loop: what the first time cannot do without
- `first`: `open_dataset` with an empty cache
- `second`: `open_dataset` again: it looks at every file (size, time of change) and reads none
- `walk`: `os.walk`, names alone
- `ImageFolder`: torchvision's, names and classes; no key, and a changed file goes unnoticed

`first` and `hash` run once, the others --repeats times. Everything is in the system's cache: the files are read once
before the first measurement.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pairs import processes

PEERS = ("walk", "ImageFolder")


def make_files(folder: Path, num_files: int, num_classes: int) -> None:
    """Write the files, unless they are there from an earlier run."""
    done = folder / "done.json"
    wanted = [num_files, num_classes]
    if done.exists() and json.loads(done.read_text()) == wanted:
        return
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(
            f"{folder} holds something else than {num_files} files in {num_classes} classes. Name another."
        )
    for number in range(num_classes):
        (folder / "train" / f"class{number:05d}").mkdir(parents=True)
    for i in range(num_files):
        path = f"{folder}/train/class{i * num_classes // num_files:05d}/image_{i:08d}.jpg"
        with open(path, "wb") as file:  # noqa: PTH123 (a million times)
            file.write(b"%020d" % i)
    done.write_text(json.dumps(wanted))


def bare_hash(folder: Path) -> int:
    """Hash every file in a loop."""
    found = {}
    for parent, _, names in os.walk(folder / "train"):
        for name in names:
            with open(f"{parent}/{name}", "rb") as file:  # noqa: PTH123
                found[f"{parent}/{name}"] = hashlib.sha256(file.read()).hexdigest()
    return len(found)


def walk(folder: Path) -> int:
    """List every file's name."""
    return sum(len(names) for _, _, names in os.walk(folder / "train"))


def image_folder(folder: Path) -> int:
    """List every file as torchvision does."""
    from torchvision.datasets import ImageFolder

    return len(ImageFolder(str(folder / "train")))


def ours(folder: Path) -> int:
    """Index the folder."""
    from sightwords.images.config import ImagesConfig
    from sightwords.images.dataset import open_dataset

    return len(open_dataset(ImagesConfig(str(folder)), ("train",), show=False).split("train"))


WAYS: dict[str, Callable[[Path], int]] = {
    "hash": bare_hash, "first": ours, "second": ours, "walk": walk, "ImageFolder": image_folder,
}  # fmt: skip


def measure(way: str, folder: Path, cache: Path) -> dict[str, float]:
    """Return seconds, processor seconds (helpers included), the growth of memory in MiB, and the number of files."""
    os.environ["SIGHTWORDS_CACHE"] = str(cache)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start_s, start_cpu_s = time.perf_counter(), cpu_s()
    num_files = WAYS[way](folder)
    seconds, spent_s = time.perf_counter() - start_s, cpu_s() - start_cpu_s
    mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    return {"seconds": seconds, "cpu_s": spent_s, "mib": mib, "num_files": num_files}


def cpu_s() -> float:
    """Return the processor time of this process and of those it has waited for."""
    every = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in every)


def compare(folder: Path, cache: Path, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Return every measurement of every way."""
    bare_hash(folder)
    order = ["hash", "first", *[way for _ in range(repeats) for way in ("second", *PEERS)]]
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with processes() as alone:
        for way in order:
            found[way].append(alone(measure, way, folder, cache))
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Return the medians, and how many times longer each takes than the bare loop, and than both listings together."""
    median = {way: {k: statistics.median(one[k] for one in runs) for k in runs[0]} for way, runs in found.items()}
    both_s = median["walk"]["seconds"] + median["ImageFolder"]["seconds"]
    titles = ("seconds", "least", "processor", "us a file", "MiB", "/ hash", "/ both")
    lines = [" " * 12 + "".join(f"{title:>11}" for title in titles)]
    for way, values in median.items():
        seconds, least = values["seconds"], min(one["seconds"] for one in found[way])
        cells = (seconds, least, values["cpu_s"], 1e6 * seconds / values["num_files"], values["mib"])
        ratios = (seconds / median["hash"]["seconds"], seconds / both_s)
        lines.append(f"{way:12}" + "".join(f"{cell:11.2f}" for cell in (*cells, *ratios)))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the files, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_300_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the files here, and find them here the next time")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "images"
        folder.mkdir(parents=True, exist_ok=True)
        make_files(folder, options.files, options.classes)
        found = compare(folder, Path(scratch) / "cache", options.repeats)
    assert {one["num_files"] for runs in found.values() for one in runs} == {options.files}
    print(f"{options.files} files in {options.classes} folders; both = os.walk and then ImageFolder")
    print(table(found))


if __name__ == "__main__":
    main()
