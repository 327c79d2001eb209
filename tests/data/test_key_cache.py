from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from sightwords.data.key import Member, image_key
from sightwords.data.key_cache import KeyCache, image_keys
from sightwords.errors import DataError


def write(path, data: bytes) -> Member:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return Member(str(path), path.name)


def test_key_is_the_sha256_of_the_bytes():
    assert image_key(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_second_look_reads_no_file(tmp_path, monkeypatch):
    members = [write(tmp_path / "a" / f"{i}.jpg", bytes([i])) for i in range(5)]
    first, reasons = KeyCache(tmp_path / "cache").keys(members)
    assert first == [hashlib.sha256(bytes([i])).hexdigest() for i in range(5)]
    assert reasons == {}
    monkeypatch.setattr(Member, "read", lambda self: pytest.fail(f"{self.file} was read again"))
    assert KeyCache(tmp_path / "cache").keys(members)[0] == first


def test_a_changed_file_is_hashed_again(tmp_path):
    member = write(tmp_path / "a.jpg", b"one")
    cache = KeyCache(tmp_path / "cache")
    assert cache.keys([member])[0] == [image_key(b"one")]
    write(tmp_path / "a.jpg", b"two")  # same size: only the time of change tells
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    assert cache.keys([member])[0] == [image_key(b"two")]


def test_ranges_of_a_shard_have_keys_of_their_own(tmp_path):
    write(tmp_path / "shard", b"xxabcyy")
    members = [Member(str(tmp_path / "shard"), "1", 2, 3), Member(str(tmp_path / "shard"), "2", 0, 7)]
    cache = KeyCache(tmp_path / "cache")
    for _ in range(2):
        assert cache.keys(members)[0] == [image_key(b"abc"), image_key(b"xxabcyy")]


def test_what_cannot_be_read_is_named_and_the_rest_stays(tmp_path):
    good = write(tmp_path / "good.jpg", b"g")
    gone = Member(str(tmp_path / "gone.jpg"), "gone.jpg")
    short = Member(str(tmp_path / "good.jpg"), "short", 0, 99)
    keys, reasons = KeyCache(tmp_path / "cache").keys([gone, good, short])
    assert keys == [None, image_key(b"g"), None]
    assert "No such file" in reasons[0]
    assert "98 bytes before the end of short" in reasons[2]


def test_a_damaged_cache_is_replaced(tmp_path):
    (tmp_path / "cache").write_bytes(b"this is no database" * 100)
    member = write(tmp_path / "a.jpg", b"a")
    assert KeyCache(tmp_path / "cache").keys([member])[0] == [image_key(b"a")]


def test_progress_counts_every_image_once(tmp_path):
    members = [write(tmp_path / f"{i}.jpg", bytes([i])) for i in range(7)]
    cache, seen = KeyCache(tmp_path / "cache"), []
    for _ in range(2):
        seen.clear()
        cache.keys(members, seen.append)
        assert sum(seen) == 7


def test_keys_of_files_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path / "cache"))
    files = [write(tmp_path / name, name.encode()).file for name in ("b", "a")]
    assert image_keys(files) == image_keys(map(Path, files)) == [image_key(b"b"), image_key(b"a")]


def test_keys_of_files_name_the_first_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path / "cache"))
    there = write(tmp_path / "a", b"a").file
    with pytest.raises(DataError, match=r"2 of 3 image files cannot be read. The first is .*gone: No such file"):
        image_keys([there, tmp_path / "gone", tmp_path / "lost"])
