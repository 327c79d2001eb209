from __future__ import annotations

import pytest

from sightwords.files import atomic_path, cache_folder, changes, staged_files, write_text


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


def test_what_differs_is_named():
    before = {"epochs": 3, "align": {"weight": 0.3, "loss": "clip"}, "model_kwargs": {}}
    assert changes(before, before) == ""
    now = {"epochs": 4, "align": {"weight": 0.5, "loss": "clip"}, "model_kwargs": {}}
    assert changes(before, now) == "epochs was 3, is 4; align.weight was 0.3, is 0.5"


def test_options_that_were_not_saved_are_no_change_and_missing_ones_are():
    assert changes({"align": {"weight": 0.3}}, {"align": {"weight": 0.3, "new": 1}, "more": 2}) == ""
    assert changes({"align": {"weight": 0.3}}, {"align": {}}) == "align.weight was 0.3, is None"


def test_arguments_that_came_or_went_are_a_change():
    assert changes({"model_kwargs": {}}, {"model_kwargs": {"depth": 2}}) == "model_kwargs was {}, is None"
    assert changes({"model_kwargs": {"depth": 2}}, {"model_kwargs": {}}) == "model_kwargs.depth was 2, is None"
