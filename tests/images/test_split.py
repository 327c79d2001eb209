from __future__ import annotations

import pytest

from sightwords.images.dataset import Split, locate
from sightwords.images.references import ImageReference


def test_keys_that_begin_alike_are_sorted_by_their_end():
    keys = ["0" * 63 + digit for digit in "3120"] + ["f" + "0" * 63, "0" * 15 + "1" + "f" * 48]
    members = [ImageReference(f"{i}", f"{i}") for i in range(6)]
    images = Split.of(members, keys, [[i] for i in range(6)])
    assert images.keys() == sorted(keys)
    assert [images.reference(i).name for i in range(6)] == ["3", "1", "2", "0", "5", "4"]
    assert [images.labels(i).tolist() for i in range(6)] == [[3], [1], [2], [0], [5], [4]]
    assert images.subset([4, 0, 2]).keys() == [images.key(i) for i in (0, 2, 4)]


def test_a_position_of_all_splits_leads_to_its_image():
    members = [ImageReference(f"{i}.png", f"{i}.png") for i in range(5)]
    keys = [f"{i:064x}" for i in range(5)]
    splits = {"train": Split.of(members[:3], keys[:3], [[0]] * 3), "val": Split.of(members[3:], keys[3:], [[0]] * 2)}
    found = [locate(splits, position) for position in range(5)]
    assert [(split, images.key(index)) for split, images, index in found] == [
        *(("train", key) for key in keys[:3]),
        *(("val", key) for key in keys[3:]),
    ]
    with pytest.raises(IndexError):
        locate(splits, 5)
