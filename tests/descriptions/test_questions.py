"""What is asked: images once, classes once, and only what has no good answer yet."""

from __future__ import annotations

import shutil

import pytest

from sightwords.descriptions.questions import Targets, Wanted, missing, spread
from sightwords.descriptions.schema import Attempt, Description, Review
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset


def wanted(tries: int = 3, only_failed: bool = False, since: float = 100.0, num_samples: int = 1) -> Wanted:
    return Wanted((1, 1), num_samples, tries, only_failed, since)


def attempts(rows: list[tuple]) -> list[Attempt]:
    """Attempts of (attempt, status, reason, created_at)."""
    return [Attempt("a", 0, *row) for row in rows]


OK, REJECTED, FAILED = ("ok", ""), ("rejected", "too short"), ("failed", "timeout")
REFUSED = ("rejected", "refused: 400")


@pytest.mark.parametrize(
    ("rows", "usual", "only_failed"),
    [
        ([], 0, None),
        ([(0, *OK, 1.0)], None, None),
        ([(0, *FAILED, 1.0)], 0, 0),  # no answer: asked again as it was
        ([(0, *FAILED, 101.0)], None, None),  # it failed in this run
        ([(0, *REJECTED, 101.0)], 1, 1),
        ([(0, *REJECTED, 1.0), (1, *OK, 2.0)], None, None),
        ([(0, *REJECTED, 1.0), (1, *REJECTED, 2.0)], 2, 2),
        ([(0, *REJECTED, 1.0), (1, *REJECTED, 2.0), (2, *REJECTED, 3.0)], None, 3),  # --retry-failed: new tries
        ([(0, *REJECTED, 1.0), (1, *REJECTED, 101.0), (2, *REJECTED, 102.0)], None, 3),
        ([(0, *REJECTED, 1.0), (1, *REJECTED, 101.0), (2, *REJECTED, 102.0), (3, *REJECTED, 103.0)], None, None),
        ([(0, *REJECTED, 1.0), (1, *FAILED, 2.0)], 1, 1),
        ([(0, *REFUSED, 1.0)], None, 1),
        ([(0, *REFUSED, 101.0)], None, None),
    ],
)
def test_the_next_attempt(rows, usual, only_failed):
    assert wanted().next_attempt(attempts(rows)) == usual
    assert wanted(only_failed=True).next_attempt(attempts(rows)) == only_failed


@pytest.fixture
def dataset(photos):
    shutil.copytree(photos / "train", photos / "val")
    shutil.copy(photos / "train" / "bar" / "e.jpg", photos / "train" / "bar" / "same.jpg")
    return open_dataset(ImagesConfig(str(photos)), show=False)


def test_every_distinct_image_is_a_target_once(dataset):
    targets = Targets(list(dataset.splits.values()), dataset.class_names)
    keys = [target.key for target in targets]
    assert len(keys) == len(set(keys)) == len(targets) == 5
    assert sorted(target.class_name for target in targets) == ["bar"] * 2 + ["red disc"] * 3
    assert list(targets.images()) == list(targets)
    assert all(target.reference.read() for target in targets)


@pytest.mark.parametrize("num_shares", [2, 3])
def test_shares_are_disjoint_and_whole(dataset, num_shares):
    parts, names = list(dataset.splits.values()), dataset.class_names
    shares = [[t.key for t in Targets(parts, names, part=(rank, num_shares))] for rank in range(num_shares)]
    assert sorted(key for share in shares for key in share) == sorted(t.key for t in Targets(parts, names))
    per_class = [len(Targets(parts, names, True, (rank, num_shares))) for rank in range(num_shares)]
    assert per_class == [2, 0, 0][:num_shares]


def test_questions_are_what_the_set_lacks(dataset, store):
    targets = Targets([dataset.split("train")], dataset.class_names)
    keys = [target.key for target in targets]
    store.put([Description(keys[1], 1, 1, 0, "x"), Description(keys[2], 1, 1, 1, "", "rejected", "refusal")])
    asked = [(keys.index(target.key), *place) for target, *place in missing(store, targets, wanted(num_samples=2))]
    assert asked == [(0, 0, 0), (0, 1, 0), (1, 1, 0), (2, 0, 0), (2, 1, 1), (3, 0, 0), (3, 1, 0), (4, 0, 0), (4, 1, 0)]


def test_a_class_is_asked_once_and_its_answer_spreads_to_new_images(dataset, store):
    targets = Targets([dataset.split("train")], dataset.class_names, per_class=True)
    assert [(t.key, t.class_name, t.reference) for t in targets] == [
        (f"class:{name}", name, None) for name in ("bar", "red disc")
    ]
    discs = targets.image_keys("class:red disc")
    assert len(discs) == 3
    assert len(list(missing(store, targets, wanted()))) == 2
    # two of three images have the class's answers: the third one joined later
    store.put(Description(key, 1, 1, 0, "no", "rejected", "refusal", created_at=1.0) for key in discs[1:])
    store.put(Description(key, 1, 1, 0, "round and red", attempt=1, created_at=2.0) for key in discs[1:])
    spread(store, targets, wanted())
    assert [(row.text, row.attempt) for row in store.rows(1, 1, [discs[0]])] == [("no", 0), ("round and red", 1)]
    assert [target.key for target, *_ in missing(store, targets, wanted())] == ["class:bar"]


def decided(action: str, attempt: int, key: str = "a") -> Review:
    return Review(key, 1, 1, 0, attempt, action, "human:anna", "text", 1.0)


@pytest.mark.parametrize(
    ("rows", "review", "usual"),
    [
        ([(0, *OK, 1.0)], decided("ask", 0), 1),
        ([(0, *FAILED, 1.0)], decided("ask", 0), 1),  # not 0: the answer must be later than the wish
        ([(0, *OK, 1.0), (1, *OK, 101.0)], decided("ask", 0), None),  # it was asked again
        ([(i, *REJECTED, 1.0) for i in range(3)], decided("ask", 2), 3),
        ([*[(i, *REJECTED, 1.0) for i in range(3)], (3, *REJECTED, 101.0)], decided("ask", 2), 4),  # with new tries
        ([(i, *REJECTED, 101.0) for i in range(6)], decided("ask", 2), None),
        ([(0, *OK, 1.0)], decided("reject", 0), None),
        ([(0, *REJECTED, 1.0)], decided("edit", 0), None),  # a person wrote what the describer could not
        ([(0, *FAILED, 1.0)], decided("edit", 0), None),
        ([(0, *REJECTED, 1.0)], decided("restore", 0), 1),
    ],
)
def test_what_a_person_decided_is_kept_to(rows, review, usual):
    assert wanted().next_attempt(attempts(rows), review) == usual
    if review.action != "restore":
        assert wanted(only_failed=True).next_attempt(attempts(rows), review) == usual


def test_an_image_that_a_person_wants_asked_again_is_asked_once(dataset, store):
    targets = Targets([dataset.split("train")], dataset.class_names)
    keys = [target.key for target in targets]
    store.put(Description(key, 1, 1, 0, "text", created_at=1.0) for key in keys)
    store.add_reviews([Review.of(store.current(keys[1])[0], "ask", "human:anna")])
    [(target, _, attempt)] = missing(store, targets, wanted())
    assert (target.key, attempt) == (keys[1], 1)
    store.put([Description(keys[1], 1, 1, 0, "new text", attempt=1)])
    assert list(missing(store, targets, wanted())) == []
    assert store.current(keys[1])[0].text == "new text"


def test_a_class_is_asked_again_where_one_of_its_images_is_to_be(dataset, store):
    targets = Targets([dataset.split("train")], dataset.class_names, per_class=True)
    discs = targets.image_keys("class:red disc")
    store.put(Description(key, 1, 1, 0, "t") for target in targets for key in targets.image_keys(target.key))
    store.add_reviews([Review.of(store.current(discs[0])[0], "edit", "human:anna", "mine")])
    assert list(missing(store, targets, wanted())) == []  # of one image, not of the class
    store.add_reviews([Review.of(store.current(discs[-1])[0], "ask", "human:anna")])
    asked = [(target.key, attempt) for target, _, attempt in missing(store, targets, wanted())]
    assert asked == [("class:red disc", 1)]
