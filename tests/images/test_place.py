from __future__ import annotations

import os

import numpy as np
import pytest

from sightwords.images.member import Member
from sightwords.images.references import Places

MEMBERS = [
    Member("/data/dog/a.jpg", "train/dog/a.jpg"),
    Member("/data/cat/a.jpg", "train/cat/a.jpg"),
    Member("/data/dog/b.jpg", "train/dog/b.jpg"),
    Member("/data/shard.tar", "shard.tar/a/1.png", 512, 30),
    Member("/data/cat/a.jpg", "./cat/a.jpg"),  # as a table may have it
    Member("/data/cat/a.jpg", "first"),  # no common end
    Member("/data/shard.tar", "shard.tar/a/2.png", 1536, 0),
    Member("bare.jpg", "bare.jpg"),
    Member("/data/ü \udcff.jpg", "ü \udcff.jpg"),  # a name that is no UTF-8
]


def test_members_come_back_as_they_were():
    places = Places.of(MEMBERS)
    assert [places.member(i) for i in range(len(places))] == MEMBERS
    assert [places.name(i) for i in range(len(places))] == [member.name for member in MEMBERS]


def test_take_gives_the_members_in_the_order_asked_for():
    chosen = [6, 0, 0, 8, 3]
    taken = Places.of(MEMBERS).take(np.array(chosen))
    assert [taken.member(i) for i in range(len(taken))] == [MEMBERS[i] for i in chosen]


def test_files_of_folders_are_the_members_that_they_would_be_one_by_one():
    places = Places.of_files(
        ["/data/dog/", "/data/cat/"], ["dog/", ""], [b"a.jpg\0b.jpg\0", b"a.jpg\0"], np.array([2, 1])
    )
    expected = [("/data/dog/a.jpg", "dog/a.jpg"), ("/data/dog/b.jpg", "dog/b.jpg"), ("/data/cat/a.jpg", "a.jpg")]
    assert [places.member(i) for i in range(3)] == [Member(*pair) for pair in expected]


def test_folders_come_one_by_one_with_what_is_inside():
    places = Places.of(MEMBERS[:4] + MEMBERS[6:7])
    assert [(folder, rows.tolist(), places.inside(rows)) for folder, rows in places.by_folder()] == [
        ("/data/dog/", [0, 2], b"a.jpg\0b.jpg\0"),
        ("/data/cat/", [1], b"a.jpg\0"),
        ("/data/shard.tar", [3, 4], b"512+30\0" + b"1536+0\0"),
    ]
    some = places.by_folder(np.array([2, 1]))
    assert [(folder, rows.tolist()) for folder, rows in some] == [("/data/dog/", [2]), ("/data/cat/", [1])]


@pytest.mark.parametrize("members", [[], MEMBERS[:1]])
def test_few_images(members):
    places = Places.of(members)
    assert len(places) == len(members) == len(places.stamps())
    assert len(list(places.by_folder())) == len(members)


def test_stamps_are_size_and_time_of_change(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"12345")
    os.utime(tmp_path / "b", ns=(1, 77))
    files = [str(tmp_path / name) for name in ("b", "gone", "a")]
    places = Places.of([Member(file, file) for file in files] + [Member(files[0], "part", 1, 2)])
    changed = (tmp_path / "a").stat().st_mtime_ns
    assert places.stamps().tolist() == [[5, 77], [-1, -1], [5, changed], [5, 77]]
