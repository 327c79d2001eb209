from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sightwords.errors import DataError
from sightwords.images import keys as key_cache_module
from sightwords.images.keys import KeyCache, image_key, image_keys
from sightwords.images.references import ImageReference


def write(path, data: bytes) -> ImageReference:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return ImageReference(str(path), path.name)


def reads(monkeypatch) -> list[str]:
    """Return a list that the names of the files read from now on go into."""
    names: list[str] = []
    read = ImageReference.read
    monkeypatch.setattr(ImageReference, "read", lambda self: (names.append(Path(self.file).name), read(self))[1])
    return names


def test_key_is_the_sha256_of_the_bytes():
    assert image_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_cannot_be_read_is_named_and_the_rest_stays(tmp_path):
    good = write(tmp_path / "good.jpg", b"g")
    gone = ImageReference(str(tmp_path / "gone.jpg"), "gone.jpg")
    short = ImageReference(str(tmp_path / "good.jpg"), "short", 0, 99)
    keys, reasons = KeyCache(tmp_path / "cache").keys([gone, good, short])
    assert keys == [None, image_key(b"g"), None]
    assert "No such file" in reasons[0]
    assert "98 bytes before the end of short" in reasons[2]


@pytest.mark.parametrize("start", [0, 4096])
def test_a_damaged_cache_is_replaced(tmp_path, start):
    images = [write(tmp_path / "a" / f"{i}.jpg", bytes([i])) for i in range(200)]
    cache = KeyCache(tmp_path / "cache")
    first, _ = cache.keys(images)
    size = cache.path.stat().st_size
    with cache.path.open("r+b") as file:
        file.seek(start)
        file.write(b"x" * (size - start))
    for _ in range(2):
        assert cache.keys(images) == (first, {})


def test_a_cache_whose_columns_do_not_fit_is_replaced(tmp_path):
    images = [write(tmp_path / "a" / f"{i}.jpg", bytes([i])) for i in range(5)]
    cache = KeyCache(tmp_path / "cache")
    first = cache.keys(images)
    for column in ("names", "stats", "keys"):
        with closing(sqlite3.connect(cache.path)) as connection, connection:
            connection.execute(f"UPDATE parts SET {column} = substr({column}, 1, length({column}) - 3)")
        assert cache.keys(images) == first


def test_files_added_removed_and_renamed(tmp_path, monkeypatch):
    for name in "abcd":
        write(tmp_path / "a" / name, name.encode())
        os.utime(tmp_path / "a" / name, ns=(1, 1))  # size and time alone do not tell one file from another
    cache = KeyCache(tmp_path / "cache")

    def keys(names: str) -> list[str | None]:
        return cache.keys([ImageReference(str(tmp_path / "a" / name), name) for name in names])[0]

    keys("abcd")
    (tmp_path / "a" / "b").rename(tmp_path / "a" / "0")
    write(tmp_path / "a" / "e", b"e")
    os.utime(tmp_path / "a" / "e", ns=(1, 1))
    expected = [image_key(content) for content in (b"b", b"a", b"c", b"e")]
    read = reads(monkeypatch)
    assert keys("0ace") == expected
    assert sorted(read) == ["0", "e"]
    assert keys("0ace") == expected
    assert keys("e0ca") == [expected[i] for i in (3, 0, 2, 1)]
    assert keys("d") == [image_key(b"d")]  # unlisted for a while, not forgotten
    assert len(read) == 2


def test_a_changed_file_is_the_only_one_that_is_read(tmp_path, monkeypatch):
    images = [write(tmp_path / f"{i % 3}" / f"{i}.jpg", b"%d" % i) for i in range(30)]
    cache = KeyCache(tmp_path / "cache")
    cache.keys(images)
    read = reads(monkeypatch)
    for time, content in enumerate((b"longer", b"as long")):
        write(tmp_path / "1" / "4.jpg", content[:6])  # of one size: the time of change decides
        os.utime(tmp_path / "1" / "4.jpg", ns=(time, time))
        for _ in range(2):
            assert cache.keys(images)[0] == [image_key(content[:6] if i == 4 else b"%d" % i) for i in range(30)]
    assert read == ["4.jpg", "4.jpg"]


def test_a_kill_loses_only_the_part_in_work(tmp_path, monkeypatch):
    monkeypatch.setattr(key_cache_module, "CHUNK_SIZE", 10)
    images = [write(tmp_path / "a" / f"{i:02d}.jpg", b"%d" % i) for i in range(40)]

    def stop_after_20(done: list[int]) -> None:
        if sum(done) == 20:
            raise KeyboardInterrupt

    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        KeyCache(tmp_path / "cache").keys(images, lambda count: (done.append(count), stop_after_20(done)))
    read = reads(monkeypatch)
    assert KeyCache(tmp_path / "cache").keys(images)[0] == [image_key(b"%d" % i) for i in range(40)]
    assert read == [f"{i:02d}.jpg" for i in range(20, 40)]


def test_several_processes_at_once(tmp_path):
    images = [write(tmp_path / f"{i % 5}" / f"{i}.jpg", b"%d" % i) for i in range(600)]
    expected = [image_key(b"%d" % i) for i in range(600)]
    context = multiprocessing.get_context("fork")
    together = context.Barrier(3)

    def compare() -> None:
        together.wait()
        sys.exit(KeyCache(tmp_path / "cache").keys(images)[0] != expected)

    processes = [context.Process(target=compare) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with closing(sqlite3.connect(tmp_path / "cache")) as connection:
        assert connection.execute("SELECT count(*) FROM parts").fetchone() == (5,)  # and no part is there twice
    assert KeyCache(tmp_path / "cache").keys(images)[0] == expected


def test_keys_of_files_name_the_first_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path / "cache"))
    there = write(tmp_path / "a", b"a").file
    with pytest.raises(DataError, match=r"2 of 3 image files cannot be read. The first is .*gone: No such file"):
        image_keys([there, tmp_path / "gone", tmp_path / "lost"])
