from __future__ import annotations

import os

import numpy as np

from sightwords.images.references import ImageReference, ImageReferences

IMAGES = [
    ImageReference("/data/dog/a.jpg", "train/dog/a.jpg"),
    ImageReference("/data/cat/a.jpg", "train/cat/a.jpg"),
    ImageReference("/data/dog/b.jpg", "train/dog/b.jpg"),
    ImageReference("/data/shard.tar", "shard.tar/a/1.png", 512, 30),
    ImageReference("/data/cat/a.jpg", "./cat/a.jpg"),  # as a table may have it
    ImageReference("/data/cat/a.jpg", "first"),  # no common end
    ImageReference("/data/shard.tar", "shard.tar/a/2.png", 1536, 0),
    ImageReference("bare.jpg", "bare.jpg"),
    ImageReference("/data/ü \udcff.jpg", "ü \udcff.jpg"),  # a name that is no UTF-8
]


def test_images_come_back_as_they_were():
    references = ImageReferences.of(IMAGES)
    assert [references[i] for i in range(len(references))] == IMAGES
    taken = references.take(np.array([6, 0, 0, 8, 3]))
    assert [taken[i] for i in range(len(taken))] == [IMAGES[i] for i in (6, 0, 0, 8, 3)]


def test_folders_come_one_by_one_with_what_is_inside():
    references = ImageReferences.of(IMAGES[:4] + IMAGES[6:7])
    assert [
        (folder, rows.tolist(), references.inside(rows))
        for folder, rows in references.by_folder(np.arange(len(references)))
    ] == [
        ("/data/dog/", [0, 2], [b"a.jpg", b"b.jpg"]),
        ("/data/cat/", [1], [b"a.jpg"]),
        ("/data/shard.tar", [3, 4], [b"512+30", b"1536+0"]),
    ]


def test_stats_are_size_and_time_of_change(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"12345")
    os.utime(tmp_path / "b", ns=(1, 77))
    files = [str(tmp_path / name) for name in ("b", "gone", "a")]
    references = ImageReferences.of(
        [ImageReference(file, file) for file in files] + [ImageReference(files[0], "part", 1, 2)]
    )
    changed = (tmp_path / "a").stat().st_mtime_ns
    assert references.stats().tolist() == [[5, 77], [-1, -1], [5, changed], [5, 77]]
