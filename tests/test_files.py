from __future__ import annotations

import pytest

from sightwords.files import atomic_path, cache_folder, changes, row_writer, staged_files, write_text


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    write_text(path, "whole")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "whole"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("one", "two"):
        with atomic_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["two"]


def test_staged_files_appear_together_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), staged_files(tmp_path / "new" / "folder") as staging:
        (staging / "one").write_text("1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "other").write_text("stays")
    (tmp_path / "one").write_text("old")
    with staged_files(tmp_path) as staging:
        (staging / "one").write_text("1")
        (staging / "two").write_text("2")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"other": "stays", "one": "1", "two": "2"}


def test_the_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTWORDS_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SIGHTWORDS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "sightwords"


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"a": 3, "align": {"weight": 0.3}, "kwargs": {}}, {"a": 3, "align": {"weight": 0.3}, "kwargs": {}}, ""),
        (
            {"epochs": 3, "align": {"weight": 0.3, "loss": "clip"}},
            {"epochs": 4, "align": {"weight": 0.5, "loss": "clip"}},
            "epochs was 3, is 4; align.weight was 0.3, is 0.5",
        ),
        ({"align": {"weight": 0.3}}, {"align": {"weight": 0.3, "new": 1}, "more": 2}, ""),  # was not saved
        ({"align": {"weight": 0.3}}, {"align": {}}, "align.weight was 0.3, is None"),
        ({"kwargs": {}}, {"kwargs": {"depth": 2}}, "kwargs was {}, is None"),
        ({"kwargs": {"depth": 2}}, {"kwargs": {}}, "kwargs.depth was 2, is None"),
    ],
)
def test_what_differs_is_named(before, now, expected):
    assert changes(before, now) == expected


def test_rows_go_into_csv_or_jsonl_or_nowhere(tmp_path):
    rows = [{"name": "a,b", "score": 1.5}, {"name": "\udcff", "score": 2}]
    for path in (tmp_path / "t.csv", tmp_path / "t.jsonl", None):
        with row_writer(path) as write:
            for row in rows:
                write(row)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["name,score", '"a,b",1.5', "?,2"]
    assert (tmp_path / "t.jsonl").read_text().splitlines()[0] == '{"name": "a,b", "score": 1.5}'
    with pytest.raises(RuntimeError), row_writer(tmp_path / "half.csv") as write:
        write(rows[0])
        raise RuntimeError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv", "t.jsonl"]
