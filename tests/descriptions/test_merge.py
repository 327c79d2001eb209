"""`sightwords merge`: into the first set, or into a new one; damaged sources give what they can."""

from __future__ import annotations

import hashlib

import pytest

from sightwords.descriptions.config import MergeConfig
from sightwords.descriptions.merge import merge as run
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, DamagedSetError


def make(path, numbers, text="text"):
    with DescriptionSet(path, create=True) as store:
        prompt, who = store.add_prompt(Prompt("p", 1, "t")), store.add_describer(DescriberInfo("d", "m"))
        keys = [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]
        store.add_images((key, f"{key[:8]}.png", "cat") for key in keys)
        store.put(Description(key, prompt, who, 0, f"{text} of {key}") for key in keys)
    return path


def texts(path) -> set[str]:
    with DescriptionSet(path) as store:
        return {row.text.split()[0] + row.key[:6] for row in store.descriptions()}


def test_the_first_set_takes_over_what_the_others_have(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(3, 9), "b")
    c = make(tmp_path / "c.db", [11])
    before = texts(a)
    result = run(MergeConfig([a, b, c]))
    assert result.out == a
    assert result.num_usable == 10
    assert before < texts(a)
    assert len(texts(b)) == 6  # untouched
    told = "b.db: 4 new answers, 0 in place of missing or rejected ones; 2 are there with another text"
    assert told in result.summary()
    assert "sightwords embed" in result.next_command


def test_a_new_set_leaves_the_sources_as_they_were(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(3, 9), "b")
    contents = a.read_bytes(), b.read_bytes()
    result = run(MergeConfig([a, b], out=tmp_path / "all.db"))
    assert result.num_usable == 9
    assert (a.read_bytes(), b.read_bytes()) == contents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "all.db", "b.db"]


def test_a_damaged_source_gives_what_can_be_read(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(3000), "b" * 300)
    with b.open("r+b") as file:
        file.truncate(b.stat().st_size * 2 // 3)
    result = run(MergeConfig([a, b], out=tmp_path / "all.db"))
    assert 1000 < result.num_usable < 3000
    assert result.rescued == {b: result.taken[b].num_new + 5}
    assert f"b.db is damaged: {result.rescued[b]} answers could still be read" in result.summary()


def test_a_damaged_first_set_is_refused_and_the_way_out_named(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), tmp_path / "b.db"
    b.write_bytes(b"nothing " * 4000)
    with pytest.raises(DamagedSetError, match="--out RESCUED.db"):
        run(MergeConfig([b, a]))
    before = texts(a)
    with pytest.raises(ArtifactError, match="Nothing in .* can be read"):
        run(MergeConfig([a, b]))
    assert texts(a) == before
    with pytest.raises(ArtifactError, match="Nothing in .* can be read"):
        run(MergeConfig([a, b], out=tmp_path / "all.db"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "b.db"]


def test_wrong_names_are_told(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(5))
    with pytest.raises(ConfigError, match="at least two"):
        MergeConfig([a])
    with pytest.raises(ConfigError, match="named twice"):
        MergeConfig([a, tmp_path / "." / "a.db"])
    with pytest.raises(ConfigError, match=r"is there already.*sightwords merge .*b\.db .*a\.db"):
        MergeConfig([a], out=b)
    with pytest.raises(ArtifactError, match=r"no description set at .*none\.db"):
        run(MergeConfig([a, tmp_path / "none.db"]))
