"""The import as a whole: from a source and images to a description set."""

from __future__ import annotations

import csv
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.import_ import import_descriptions as run
from sightwords.descriptions.schema import DescriberInfo, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, DataError
from sightwords.images.keys import image_key


def _table(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("image", "text")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def _texts(path: Path) -> dict[tuple[str, int], str]:
    with DescriptionSet(path) as store:
        return {(one.key, one.sample): one.text for one in store.descriptions()}


def test_rows_by_path_with_everything_counted(pictures, tmp_path):
    root, keys = pictures
    rows = [
        ("train/cat/one.png", "first"), ("train/cat/one.png", "second"), ("train/dog/three.png", "third"),
        ("val/cat/four.png", " "), ("train/cat/none.png", "nobody's"),
    ]  # fmt: skip
    result = run(ImportConfig(_table(tmp_path / "s.csv", rows), images=str(root), out=tmp_path / "D.db"))
    one, three = keys["train/cat/one.png"], keys["train/dog/three.png"]
    assert _texts(result.out) == {(one, 0): "first", (one, 1): "second", (three, 0): "third"}
    assert (result.num_matched, result.num_described, result.num_empty, result.num_unmatched) == (3, 2, 1, 1)
    assert result.unmatched == ["'train/cat/none.png'"]
    assert result.num_undescribed == 3
    assert set(result.undescribed) == {"train/cat/two.png", "val/cat/four.png", "val/dog/five.png"}
    with DescriptionSet(result.out) as store:
        assert store.prompts() == {1: Prompt("imported", 1, "")}
        assert store.describers() == {1: DescriberInfo("import:s.csv", "")}
        assert store.images() == {one: ("train/cat/one.png", "cat"), three: ("train/dog/three.png", "dog")}
    for said in (
        "3 descriptions of 2 images",
        "joined by path",
        "without an image: 1",
        "without a description: 3",
        "empty",
    ):
        assert said in result.summary()
    assert shlex.split(result.next_command)[:3] == ["sightwords", "embed", str(result.out)]


@pytest.mark.parametrize("way", ["key", "absolute", "name"])
def test_other_ways_to_name_an_image(pictures, tmp_path, way):
    root, keys = pictures
    name = "val/dog/five.png"
    reference = {"key": keys[name], "absolute": str(root / name), "name": "five.png"}[way]
    source = _table(tmp_path / "s.csv", [(reference, "a dog")])
    result = run(ImportConfig(source, images=str(root), out=tmp_path / "D.db"))
    assert _texts(result.out) == {(keys[name], 0): "a dog"}


def test_paths_relative_to_the_source(pictures, tmp_path):
    root, keys = pictures
    source = _table(root / "train" / "s.csv", [("cat/two.png", "a cat")])
    result = run(ImportConfig(source, images=str(root), out=tmp_path / "D.db"))
    assert _texts(result.out) == {(keys["train/cat/two.png"], 0): "a cat"}
    assert result.way == "path"


def test_split_leaves_other_images_alone(pictures, tmp_path):
    root, keys = pictures
    source = _table(tmp_path / "s.csv", [(name, name) for name in keys])
    result = run(ImportConfig(source, images=str(root), out=tmp_path / "D.db", split="val"))
    assert set(_texts(result.out).values()) == {"val/cat/four.png", "val/dog/five.png"}
    assert (result.num_unmatched, result.num_undescribed) == (3, 0)


def test_renamed_images_keep_their_descriptions(pictures, tmp_path):
    root, _ = pictures
    source = _table(tmp_path / "s.csv", [("train/cat/one.png", "text")])
    out = run(ImportConfig(source, images=str(root), out=tmp_path / "D.db")).out
    moved = root / "train" / "dog" / "renamed.png"
    (root / "train/cat/one.png").rename(moved)
    assert (image_key(moved.read_bytes()), 0) in _texts(out)


def test_a_second_import_changes_nothing_and_another_source_adds(pictures, tmp_path):
    root, keys = pictures
    config = ImportConfig(
        _table(tmp_path / "s.csv", [(name, name) for name in keys]), images=str(root), out=tmp_path / "D.db"
    )
    run(config)
    before = _texts(config.out)
    run(config)
    assert _texts(config.out) == before
    other = _table(tmp_path / "other.csv", [(name, name) for name in keys])
    run(ImportConfig(other, images=str(root), out=config.out, prompt="theirs", describer="people"))
    with DescriptionSet(config.out) as store:
        assert store.counts() == {"ok": 2 * len(keys)}
        assert {p.name for p in store.prompts().values()} == {"imported", "theirs"}
        assert {d.identifier for d in store.describers().values()} == {"import:s.csv", "people"}


def test_nothing_fits_writes_nothing(pictures, tmp_path):
    root, _ = pictures
    source = _table(tmp_path / "s.csv", [("elsewhere/x.png", "text")])
    with pytest.raises(DataError, match=r"'elsewhere/x\.png'.*\.png' with the key"):
        run(ImportConfig(source, images=str(root), out=tmp_path / "D.db"))
    assert not (tmp_path / "D.db").exists()


def test_only_empty_texts_are_an_error(pictures, tmp_path):
    source = _table(tmp_path / "s.csv", [("train/cat/one.png", "")])
    with pytest.raises(DataError, match=r"no description \(1 rows"):
        run(ImportConfig(source, images=str(pictures[0]), out=tmp_path / "D.db"))


def test_a_foreign_file_as_out_is_left_alone(pictures, tmp_path):
    source = _table(tmp_path / "s.csv", [("train/cat/one.png", "text")])
    (tmp_path / "D.db").write_text("my thesis, the only copy " * 100)
    with pytest.raises(ArtifactError, match="is damaged, or no description set"):
        run(ImportConfig(source, images=str(pictures[0]), out=tmp_path / "D.db"))
    assert (tmp_path / "D.db").read_text().startswith("my thesis")


def test_a_kill_while_writing_leaves_the_set_as_it_was(pictures, tmp_path):
    root, keys = pictures
    out = tmp_path / "D.db"
    run(ImportConfig(_table(tmp_path / "s.csv", [("train/cat/one.png", "before")]), images=str(root), out=out))
    _table(tmp_path / "s.csv", [(name, "after") for name in keys])
    code = f"""
        import os, signal
        from pathlib import Path
        from sightwords.descriptions import import_ as module
        from sightwords.descriptions.config import ImportConfig
        made = []
        class Killing(module.Description):
            def __init__(self, *values, **named):
                super().__init__(*values, **named)
                made.append(self)
                if len(made) == 4:
                    os.kill(os.getpid(), signal.SIGKILL)
        module.Description = Killing
        table = Path({str(tmp_path / "s.csv")!r})
        module.import_descriptions(ImportConfig(table, images={str(root)!r}, out=Path({str(out)!r})))
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert _texts(out) == {(keys["train/cat/one.png"], 0): "before"}
    run(ImportConfig(tmp_path / "s.csv", images=str(root), out=out))
    assert set(_texts(out).values()) == {"after"}
    assert len(_texts(out)) == len(keys)
