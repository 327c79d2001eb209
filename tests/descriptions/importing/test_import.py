"""The import as a whole: from a source and images to a description set."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable

import pytest

from sightwords.descriptions import import_
from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.import_ import ImportResult
from sightwords.descriptions.schema import DescriberInfo, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, DataError
from sightwords.images.keys import image_key


@pytest.fixture
def run(pictures, tmp_path):
    """Return a function that imports rows of (image, text) from a table."""

    def imported(rows: Iterable[tuple[str, str]], name: str = "s.csv", **options: str) -> ImportResult:
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("image", "text"), *rows])
        config = ImportConfig(tmp_path / name, images=str(pictures[0]), out=tmp_path / "D.db", **options)
        return import_.import_descriptions(config)

    return imported


@pytest.fixture
def texts(tmp_path):
    """Return a function that reads what is stored."""

    def read() -> dict[tuple[str, int], str]:
        with DescriptionSet(tmp_path / "D.db") as store:
            return {(one.key, one.sample): one.text for one in store.descriptions()}

    return read


def test_rows_by_path_with_everything_counted(run, texts, pictures):
    _, keys = pictures
    result = run([
        ("train/cat/one.png", "first"), ("train/cat/one.png", "second"), ("train/dog/three.png", "third"),
        ("val/cat/four.png", " "), ("train/cat/none.png", "nobody's"),
    ])  # fmt: skip
    one, three = keys["train/cat/one.png"], keys["train/dog/three.png"]
    assert texts() == {(one, 0): "first", (one, 1): "second", (three, 0): "third"}
    assert (result.num_matched, result.num_described, result.num_empty) == (3, 2, 1)
    assert result.unmatched == ["train/cat/none.png"]
    assert set(result.undescribed) == {"train/cat/two.png", "val/cat/four.png", "val/dog/five.png"}
    with DescriptionSet(result.out) as store:
        assert store.prompts() == {1: Prompt("imported", 1, "")}
        assert store.describers() == {1: DescriberInfo("import:s.csv", "")}
        assert store.images() == {one: ("train/cat/one.png", "cat"), three: ("train/dog/three.png", "dog")}
    for said in ("3 descriptions of 2 images", "joined by path", "without an image: 1", "a description: 3", "empty"):
        assert said in result.summary()
    assert shlex.split(result.next_command)[:3] == ["sightwords", "embed", str(result.out)]


@pytest.mark.parametrize("way", ["key", "path", "file name"])
def test_other_ways_to_name_an_image(run, texts, pictures, way):
    root, keys = pictures
    name = "val/dog/five.png"
    reference = {"key": keys[name], "path": str(root / name), "file name": "five.png"}[way]
    assert run([(reference, "a dog")]).way == way
    assert texts() == {(keys[name], 0): "a dog"}


def test_paths_relative_to_the_source(run, texts, pictures):
    root, keys = pictures
    assert run([("cat/two.png", "a cat")], str(root / "train" / "s.csv")).way == "path"
    assert texts() == {(keys["train/cat/two.png"], 0): "a cat"}


def test_split_leaves_other_images_alone(run, texts, pictures):
    result = run([(name, name) for name in pictures[1]], split="val")
    assert set(texts().values()) == {"val/cat/four.png", "val/dog/five.png"}
    assert (len(result.unmatched), result.undescribed) == (3, [])


def test_renamed_images_keep_their_descriptions(run, texts, pictures):
    root, _ = pictures
    run([("train/cat/one.png", "text")])
    moved = (root / "train/cat/one.png").rename(root / "train" / "dog" / "renamed.png")
    assert (image_key(moved.read_bytes()), 0) in texts()


def test_a_second_import_changes_nothing_and_another_source_adds(run, texts, pictures):
    rows = [(name, name) for name in pictures[1]]
    run(rows)
    before = texts()
    run(rows)
    assert texts() == before
    out = run(rows, "other.csv", prompt="theirs", describer="people").out
    with DescriptionSet(out) as store:
        assert store.counts() == {"ok": 2 * len(rows)}
        assert {p.name for p in store.prompts().values()} == {"imported", "theirs"}
        assert {d.identifier for d in store.describers().values()} == {"import:s.csv", "people"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("elsewhere/x.png", "text"), r"'elsewhere/x\.png'.*\.png' with the key"),
        (("train/cat/one.png", ""), r"no description \(1 rows"),
    ],
)
def test_nothing_to_take_over_writes_nothing(run, tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        run([row])
    assert not (tmp_path / "D.db").exists()


def test_a_foreign_file_as_out_is_left_alone(run, tmp_path):
    (tmp_path / "D.db").write_text("my thesis, the only copy " * 100)
    with pytest.raises(ArtifactError, match="is damaged, or no description set"):
        run([("train/cat/one.png", "text")])
    assert (tmp_path / "D.db").read_text().startswith("my thesis")


def test_an_end_while_writing_leaves_the_set_as_it_was(run, texts, pictures, monkeypatch):
    _, keys = pictures
    run([("train/cat/one.png", "before")])
    made = []

    def ending(*values, **named):
        made.append(values)
        if len(made) == 4:
            raise KeyboardInterrupt
        return description(*values, **named)

    description = import_.Description
    monkeypatch.setattr(import_, "Description", ending)
    with pytest.raises(KeyboardInterrupt):
        run([(name, "after") for name in keys])
    assert texts() == {(keys["train/cat/one.png"], 0): "before"}
    monkeypatch.undo()
    run([(name, "after") for name in keys])
    assert list(texts().values()) == ["after"] * len(keys)
