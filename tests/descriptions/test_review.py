"""What people decide about descriptions: it counts, nothing is lost, and describing keeps to it."""

from __future__ import annotations

import time

import pytest

from sightwords.descriptions.merge import merge_into, rescue
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt, Review
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ConfigError

A, B = "a" * 64, "b" * 64
ANNA, BOB = "human:anna", "human:bob"


@pytest.fixture
def store(store):
    store.add_images([(A, "cat/1.png", "cat"), (B, "dog/1.png", "dog")])
    store.put([Description(A, 1, 1, 0, "a cat", clip_score=0.3), Description(B, 1, 1, 0, "a dog", clip_score=0.2)])
    return store


def decide(store, key, action, author=ANNA, text=""):
    store.add_reviews([Review.of(store.current(key)[0], action, author, text)])


def usable(store):
    return {row.key: row.text for row in store.select()}


def test_an_edit_is_what_embed_uses_and_the_answer_stays(store):
    decide(store, A, "edit", text="  a tabby cat ")
    assert usable(store) == {A: "a tabby cat", B: "a dog"}
    assert [row.text for row in store.attempts_at(A)] == ["a cat"]
    [one] = store.current(A)
    assert (one.text, one.raw_text, one.reason) == ("a tabby cat", "a cat", "edited by human:anna")
    assert one.clip_score is None
    assert [row.edited_by for row in store.select("edited_by != ''")] == [ANNA]


def test_the_last_decision_counts_and_restore_takes_it_back(store):
    decide(store, A, "edit", text="first")
    decide(store, A, "edit", BOB, "second")
    assert usable(store)[A] == "second"
    decide(store, A, "reject", BOB)
    assert usable(store) == {B: "a dog"}
    assert store.counts() == {"ok": 1, "rejected": 1}
    decide(store, A, "restore")
    assert usable(store)[A] == "a cat"
    assert [(review.action, review.author) for review in store.reviews(A)] == [
        ("edit", ANNA), ("edit", BOB), ("reject", BOB), ("restore", ANNA)]  # fmt: skip


def test_a_rejected_answer_is_out_until_another_one_comes_and_an_edit_stands_over_that(store):
    decide(store, A, "reject")
    decide(store, B, "edit", text="mine")
    assert store.current(A)[0].reason == "rejected by human:anna"
    store.put([Description(key, 1, 1, 0, "another", attempt=1) for key in (A, B)])
    assert usable(store) == {A: "another", B: "mine"}
    assert len(store.attempts_at(B)) == 2


def test_an_edit_to_nothing_is_refused_and_halves_of_surrogate_pairs_are_replaced(store):
    with pytest.raises(ConfigError, match="Reject it instead"):
        decide(store, A, "edit", text=" \n")
    decide(store, A, "edit", text="a \ud83d cat")
    assert usable(store)[A] == "a ? cat"


def test_decisions_are_rescued(store, tmp_path):
    decide(store, A, "edit", text="mine")
    rescue(store.path, tmp_path / "rescued.db")
    with DescriptionSet(tmp_path / "rescued.db") as saved:
        assert usable(saved)[A] == "mine"


def test_a_merge_takes_over_decisions_once(store, tmp_path):
    decide(store, A, "edit", text="mine")
    decide(store, B, "reject")
    with DescriptionSet(tmp_path / "other.db", create=True) as other:
        other.add_describer(DescriberInfo("hf:first", "first"))  # so that row ids differ
        merge_into(other, store.path)
        merge_into(other, store.path)
        assert usable(other) == {A: "mine"}
        assert len(other.reviews(A)) == 1


def test_a_merged_rejection_is_of_the_text_that_it_was_about(store, tmp_path):
    decide(store, A, "reject")
    decide(store, B, "reject")
    with DescriptionSet(tmp_path / "other.db", create=True) as other:
        other.add_prompt(Prompt("plain", 1, "Describe this image."))
        other.add_describer(store.describers()[1])
        other.put([Description(A, 1, 1, 0, "a lynx"), Description(B, 1, 1, 0, "a dog")])
        merge_into(other, store.path)
        assert usable(other) == {A: "a lynx"}


def test_a_later_decision_of_another_set_counts(store, tmp_path):
    store.add_reviews([Review(A, 1, 1, 0, 0, "edit", ANNA, "older", 1.0)])
    with DescriptionSet(tmp_path / "other.db", create=True) as other:
        merge_into(other, store.path)
        other.add_reviews([Review(A, 1, 1, 0, 0, "edit", BOB, "newer", time.time())])
        merge_into(store, other.path)
        assert usable(store)[A] == "newer"
