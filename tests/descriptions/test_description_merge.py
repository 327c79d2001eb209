"""Merging: no good answer is replaced, none is lost, ids of rows do not matter."""

from __future__ import annotations

import pytest

from sightwords.descriptions.merge import MergeCounts, merge_into
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, DamagedSetError

A, B, C, D = (letter * 64 for letter in "abcd")
PLAIN, SHORT = Prompt("plain", 1, "Describe."), Prompt("short", 1, "Briefly.")
WHO, OTHER = DescriberInfo("hf:one", "one"), DescriberInfo("hf:two", "two")


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


def test_what_is_missing_is_added_and_what_is_better_follows(ours, theirs):
    assert merge_into(ours, theirs.path) == MergeCounts(num_new=3, num_better=2, num_different=1)
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


def test_merging_again_changes_nothing(ours, theirs):
    merge_into(ours, theirs.path)
    before = rows_of(ours)
    assert merge_into(ours, theirs.path) == MergeCounts(0, 0, 1)
    assert rows_of(ours) == before


def test_the_other_way_round_the_same_images_are_described(ours, theirs):
    merge_into(theirs, ours.path)
    assert theirs.counts() == {"ok": 5}
    assert ("a", "plain", "hf:one", 0, 0, "theirs a") in rows_of(theirs)


def test_scores_of_another_model_are_left_out(ours, theirs):
    row = next(iter(theirs.descriptions()))
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
    assert row.key == A


def test_an_error_leaves_the_target_as_it_was(ours, tmp_path):
    before = rows_of(ours)
    with pytest.raises(ArtifactError, match="no description set at"):
        merge_into(ours, tmp_path / "none.db")
    (tmp_path / "broken.db").write_bytes(b"broken" * 1000)
    with pytest.raises(DamagedSetError):
        merge_into(ours, tmp_path / "broken.db")
    assert rows_of(ours) == before
    ours.put([Description(D, 1, 1, 0, "and on")])
