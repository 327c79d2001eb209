"""Merging: no good answer is replaced, none is lost, ids of rows do not matter; damaged sets give what they can."""

from __future__ import annotations

import hashlib

import pytest

from sightwords.descriptions.config import MergeConfig
from sightwords.descriptions.merge import MergeCounts, merge_into, rescue
from sightwords.descriptions.merge import merge as run
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, DamagedSetError

A, B, C, D = (letter * 64 for letter in "abcd")
PLAIN, SHORT = Prompt("plain", 1, "Describe."), Prompt("short", 1, "Briefly.")
WHO, OTHER = DescriberInfo("hf:one", "one", "r", {"seed": 1}), DescriberInfo("hf:two", "two")
NUM = 3000


def rows_of(store: DescriptionSet) -> set[tuple]:
    prompts, describers = store.prompts(), store.describers()
    return {
        (row.key[0], prompts[row.prompt].name, describers[row.describer].identifier, row.sample, row.attempt, row.text)
        for prompt in prompts
        for describer in describers
        for row in store.rows(prompt, describer, [A, B, C, D])
    }


@pytest.fixture
def ours(tmp_path):
    with DescriptionSet(tmp_path / "ours.db", create=True) as store:
        plain, who = store.add_prompt(PLAIN), store.add_describer(WHO)
        store.add_images([(A, "a.png", "cat")])
        store.put([
            Description(A, plain, who, 0, "ours a"),
            Description(B, plain, who, 0, "no", "rejected", "refusal"),
            Description(C, plain, who, 0, "", "failed", "timeout"),
        ])  # fmt: skip
        yield store


@pytest.fixture
def theirs(tmp_path):
    with DescriptionSet(tmp_path / "theirs.db", create=True) as store:
        store.add_describer(OTHER)
        short, plain = store.add_prompt(SHORT), store.add_prompt(PLAIN)
        who = store.add_describer(WHO)
        store.add_images([(A, "elsewhere/a.png", "cat"), (D, "d.png", "dog")])
        store.put([
            Description(A, plain, who, 0, "theirs a"),
            Description(B, plain, who, 0, "theirs b"),
            Description(C, plain, who, 0, "hm", "rejected", "too short"),
            Description(C, plain, who, 0, "theirs c", attempt=1, raw_text="The image shows theirs c"),
            Description(D, plain, who, 0, "bad", "rejected", "refusal"),
            Description(D, plain, who, 0, "theirs d", attempt=1),
            Description(A, short, 1, 3, "short a"),
        ])  # fmt: skip
        yield store


def test_what_is_missing_is_added_and_what_is_better_follows_once(ours, theirs):
    for counts in (MergeCounts(num_new=3, num_better=2, num_different=1), MergeCounts(0, 0, 1)):
        assert merge_into(ours, theirs.path) == counts
        assert rows_of(ours) == {
            ("a", "plain", "hf:one", 0, 0, "ours a"),
            ("b", "plain", "hf:one", 0, 0, "no"),
            ("b", "plain", "hf:one", 0, 1, "theirs b"),
            ("c", "plain", "hf:one", 0, 0, ""),
            ("c", "plain", "hf:one", 0, 1, "theirs c"),
            ("d", "plain", "hf:one", 0, 0, "bad"),
            ("d", "plain", "hf:one", 0, 1, "theirs d"),
            ("a", "short", "hf:two", 3, 0, "short a"),
        }
    assert ours.counts() == {"ok": 5}
    assert ours.images() == {A: ("a.png", "cat"), D: ("d.png", "dog")}
    assert [row.raw_text for row in ours.rows(1, 1, [C])] == [None, "The image shows theirs c"]


def test_the_other_way_round_the_same_images_are_described(ours, theirs):
    merge_into(theirs, ours.path)
    assert theirs.counts() == {"ok": 5}
    assert ("a", "plain", "hf:one", 0, 0, "theirs a") in rows_of(theirs)


def test_scores_of_another_model_are_left_out(ours, theirs):
    theirs.begin_clip_scores("clip@2")
    theirs.set_clip_scores([(0.5, one) for one in theirs.descriptions()])
    with DescriptionSet(ours.path.with_name("copy.db"), create=True) as copy:
        merge_into(copy, theirs.path)
        assert copy.clip_score_model == "clip@2"
        assert {one.clip_score for one in copy.descriptions()} == {0.5}
    ours.begin_clip_scores("clip@1")
    merge_into(ours, theirs.path)
    assert ours.clip_score_model == "clip@1"
    assert {one.clip_score for one in ours.descriptions()} == {None}


def make(path, numbers, text="text"):
    with DescriptionSet(path, create=True) as store:
        prompt, who = store.add_prompt(PLAIN), store.add_describer(WHO)
        keys = [hashlib.sha256(str(i).encode()).hexdigest() for i in numbers]
        store.add_images((key, f"{key[:8]}.png", "cat") for key in keys)
        store.put(Description(key, prompt, who, 0, f"{text} of {key}") for key in sorted(keys))
    return path


def texts(path) -> dict[str, str]:
    with DescriptionSet(path) as store:
        return {row.key: row.text for row in store.descriptions()}


def test_the_first_set_takes_over_what_the_others_have(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(3, 9), "b")
    c, before = make(tmp_path / "c.db", [11]), texts(a)
    result = run(MergeConfig([a, b, c]))
    assert (result.out, result.num_usable, len(texts(b))) == (a, 10, 6)
    assert before.items() < texts(a).items()
    taken = "b.db: 4 new answers, 0 in place of missing or rejected ones; 2 are there with another text"
    assert taken in result.summary()
    assert "sightwords embed" in result.next_command


def test_a_new_set_leaves_the_sources_as_they_were(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(3, 9), "b")
    contents = a.read_bytes(), b.read_bytes()
    assert run(MergeConfig([a, b], out=tmp_path / "all.db")).num_usable == 9
    assert (a.read_bytes(), b.read_bytes()) == contents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "all.db", "b.db"]


@pytest.mark.parametrize(
    ("start", "length", "least"), [(0.9, 1.0, 0.65), (0.5, 1.0, 0.25), (0.67, 0.02, 0.9)], ids=["end", "half", "middle"]
)
def test_a_damaged_source_gives_what_can_be_read(tmp_path, start, length, least):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(NUM), "b" * 300)
    data = b.read_bytes()
    first, last = int(len(data) * start), int(len(data) * (start + length))
    b.write_bytes(data[:first] + (b"\xff" * (last - first) + data[last:] if last < len(data) else b""))
    result = run(MergeConfig([a, b], out=tmp_path / "all.db"))
    assert least * NUM < result.num_usable < NUM
    assert f"b.db is damaged: {result.rescued[b]} answers could still be read" in result.summary()
    with DescriptionSet(tmp_path / "all.db") as store:
        assert (store.prompts(), store.describers()) == ({1: PLAIN}, {1: WHO})
        assert all(row.text in (f"{'b' * 300} of {row.key}", f"text of {row.key}") for row in store.descriptions())


def test_a_whole_set_is_saved_whole(tmp_path):
    assert rescue(make(tmp_path / "a.db", range(NUM)), tmp_path / "b.db") == NUM


def test_where_nothing_can_be_read_all_stays_as_it_was(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), tmp_path / "b.db"
    b.write_bytes(b"nothing " * 4000)
    with pytest.raises(DamagedSetError, match="--out RESCUED.db"):
        run(MergeConfig([b, a]))
    before = texts(a)
    for out in (None, tmp_path / "all.db"):
        with pytest.raises(ArtifactError, match="Nothing in .* can be read"):
            run(MergeConfig([a, b], out=out))
    assert texts(a) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "b.db"]


def test_wrong_names_are_refused(tmp_path):
    a, b = make(tmp_path / "a.db", range(5)), make(tmp_path / "b.db", range(5))
    with pytest.raises(ConfigError, match="at least two"):
        MergeConfig([a])
    with pytest.raises(ConfigError, match="named twice"):
        MergeConfig([a, tmp_path / "." / "a.db"])
    with pytest.raises(ConfigError, match=r"is there already.*sightwords merge .*b\.db .*a\.db"):
        MergeConfig([a], out=b)
    with pytest.raises(ArtifactError, match=r"no description set at .*none\.db"):
        run(MergeConfig([a, tmp_path / "none.db"]))
