"""The asking: answers judged and committed one by one, rejected ones asked again, nothing asked twice."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from sightwords.descriptions.budget import Budget, Limits, Spent
from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.filter import FilterRules
from sightwords.descriptions.prompts import named_prompt
from sightwords.descriptions.questions import ClassTargets, ImageTargets, Wanted
from sightwords.descriptions.schema import DescriberInfo
from sightwords.descriptions.session import Checks, Session
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import UnavailableError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.progress import Progress

GOOD = "A small red bird with a black mask sits on a snowy branch."


@dataclass
class Scripted:
    """A describer whose answers a function gives; the real ones have tests of their own."""

    answer: object
    num_ahead: int = 3
    asked: list[Request] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def info(self):
        return DescriberInfo("scripted", "scripted")

    def prepare(self, data, name):
        return len(data)

    def describe(self, requests, stopping):
        for request in requests:
            self.asked.append(request)
            found = self.answer(request)
            yield (
                found if isinstance(found, Answer) else Answer(request, found, num_prompt_tokens=10, num_text_tokens=5)
            )


@pytest.fixture
def dataset(photos):
    return open_dataset(ImagesConfig(str(photos)), show=False)


@pytest.fixture
def store(tmp_path):
    with DescriptionSet(tmp_path / "D.db", create=True) as opened:
        yield opened


def ask(store, dataset, answer, prompt="plain", tries=3, retry=False, checks=None, limits=None, stopping=lambda: False):
    describer, question = Scripted(answer), named_prompt(prompt)
    images = ImageTargets([dataset.split("train")], dataset.class_names)
    targets = ClassTargets(images) if question.per_class else images
    store.add_images(images.images())
    rows = (store.add_prompt(question), store.add_describer(describer.info()))
    budget = Budget(limits or Limits(), None, Spent.of(store.usage(*rows)), 50)
    wanted = Wanted(*rows, 1, tries, retry, time.time())
    with Progress("Describing", len(targets), "descriptions", enabled=False) as progress:
        checks = checks or Checks(FilterRules(), 10)
        session = Session(describer, question, store, targets, wanted, checks, budget, progress, stopping)
        try:
            session.ask_all()
        finally:
            session.num_done = progress.done
    return describer, session


def test_every_answer_is_stored_and_a_second_run_asks_nothing(store, dataset):
    describer, session = ask(store, dataset, lambda request: f"{GOOD} Seen by {request.name}.")
    assert len(describer.asked) == session.num_answers == session.num_done == 5
    assert store.counts() == {"ok": 5}
    assert ask(store, dataset, lambda _: pytest.fail("asked"))[1].num_answers == 0


def test_a_rejected_answer_is_kept_and_asked_again_with_another_seed(store, dataset):
    def answer(request):
        return "I'm sorry, but I can't help with that." if request.attempt < 2 else f"{GOOD} Seen by {request.name}."

    describer, session = ask(store, dataset, answer)
    assert Counter(request.attempt for request in describer.asked) == {0: 5, 1: 5, 2: 5}
    assert store.counts() == {"ok": 5}
    assert session.num_done == 5
    rows = list(store.rows(1, 1, [describer.asked[0].key]))
    assert [(row.status, row.reason, row.attempt) for row in rows] == [
        ("rejected", "refusal", 0), ("rejected", "refusal", 1), ("ok", "", 2),
    ]  # fmt: skip


def test_after_the_last_try_it_stays_rejected_until_it_is_retried(store, dataset):
    describer, session = ask(store, dataset, lambda _: "", tries=2)
    assert len(describer.asked) == 10
    assert session.num_done == 5
    assert store.counts() == {"rejected": 5}
    assert not ask(store, dataset, lambda _: GOOD, tries=2)[0].asked
    describer, _ = ask(
        store, dataset, lambda r: f"{GOOD} It is {r.name}." if r.attempt == 3 else "", 2 and "plain", 2, True
    )
    assert Counter(request.attempt for request in describer.asked) == {2: 5, 3: 5}
    assert store.counts() == {"ok": 5}


def test_retrying_asks_only_where_an_answer_failed_or_was_rejected(store, dataset):
    first, second, *_ = sorted(target.key for target in ImageTargets([dataset.split("train")], dataset.class_names))
    bad = {first: "", second: None}

    def answer(request):
        if request.key == second:
            return Answer(request, "", "failed", "no answer within 5 s")
        return "" if request.key == first else f"{GOOD} It is {request.name}."

    limits = Limits(max_requests=4)
    ask(store, dataset, answer, tries=1, limits=limits)
    describer, _ = ask(store, dataset, lambda r: f"{GOOD} It is {r.name}.", tries=1, retry=True)
    assert {request.key for request in describer.asked} == set(bad)
    assert store.counts() == {"ok": 4}  # the fifth was never asked, and is left to an ordinary run


def test_refusals_of_the_server_are_not_repeated(store, dataset):
    describer, _ = ask(store, dataset, lambda r: Answer(r, "", "rejected", "refused: 400: content policy"))
    assert len(describer.asked) == 5
    assert {row[1] for row in store.reasons()} == {"refused: 400: content policy"}
    assert not ask(store, dataset, lambda _: GOOD)[0].asked


def test_failures_are_left_to_the_next_run_which_asks_the_same_attempt(store, dataset):
    ask(store, dataset, lambda r: Answer(r, "", "failed", "timeout"))
    assert store.counts() == {"failed": 5}
    describer, _ = ask(store, dataset, lambda r: f"{GOOD} It is {r.name}.")
    assert {request.attempt for request in describer.asked} == {0}
    assert store.counts() == {"ok": 5}


def test_the_raw_text_is_kept_where_cleaning_changed_it(store, dataset):
    raw = "<think>A bird?</think>The image shows a **red** bird on a branch, next to {}."
    ask(store, dataset, lambda r: raw.format(r.name))
    for row in store.descriptions():
        assert row.raw_text.startswith("<think>")
        assert row.text.startswith("A red bird on a branch")
    ask(store, dataset, lambda r: f"{GOOD} It is {r.name}.", prompt="short")
    assert {row.raw_text for row in store.descriptions() if row.prompt == 2} == {None}


def test_the_same_text_for_many_images_is_rejected_and_asked_again(store, dataset):
    def answer(request):
        return GOOD if request.attempt == 0 else f"{GOOD} It is {request.name}."

    describer, _ = ask(store, dataset, answer, checks=Checks(FilterRules(), 3))
    assert Counter(request.attempt for request in describer.asked) == {0: 5, 1: 5}
    assert store.counts() == {"ok": 5}
    assert ("rejected", "the same text for more than 3 images", 5) in [row[:3] for row in store.reasons()]


def test_a_class_is_asked_once_and_all_its_images_get_the_answer(store, dataset):
    describer, session = ask(store, dataset, lambda r: f"{GOOD} {r.text}", prompt="class_features")
    assert [(request.key, request.picture) for request in describer.asked] == [
        ("class:bar", None),
        ("class:red disc", None),
    ]
    assert store.counts() == {"ok": 5}
    assert len({row.text for row in store.descriptions()}) == 2
    assert session.num_done == 2


@pytest.mark.parametrize(("limits", "num"), [(Limits(max_requests=3), 3), (Limits(max_tokens=80), 2)])
def test_limits_stop_and_keep_everything(store, dataset, limits, num):
    # each question takes 15 tokens, and might take 10 + 50
    describer, session = ask(store, dataset, lambda r: f"{GOOD} It is {r.name}.", limits=limits)
    assert len(describer.asked) == num
    assert store.counts() == {"ok": num}
    assert session.budget.exhausted
    assert not ask(store, dataset, lambda _: GOOD, limits=limits)[0].asked
    describer, session = ask(store, dataset, lambda r: f"{GOOD} It is {r.name}.", limits=Limits(max_tokens=10_000))
    assert len(describer.asked) == 5 - num
    assert not session.budget.exhausted


def test_stopping_asks_nothing_more(store, dataset):
    answers: list[str] = []

    def answer(request):
        answers.append(request.name)
        return f"{GOOD} It is {request.name}."

    ask(store, dataset, answer, stopping=lambda: len(answers) >= 2)
    assert len(answers) == 2
    assert store.counts() == {"ok": 2}
    ask(store, dataset, answer)
    assert len(answers) == len(set(answers)) == 5


def test_images_that_vanish_or_change_are_told_and_the_others_described(store, dataset, photos):
    (photos / "train" / "bar" / "d.png").unlink()
    (photos / "train" / "bar" / "e.jpg").write_bytes(b"changed")
    describer, session = ask(store, dataset, lambda r: f"{GOOD} It is {r.name}.")
    assert len(describer.asked) == 3
    reasons = sorted(problem.reason for problem in session.problems.values())
    assert reasons == ["No such file or directory", "changed since it was listed; run the same command again"]
    assert session.num_done == 5
    assert store.counts() == {"ok": 3}  # their keys say nothing about what is there now


def test_many_failures_in_a_row_end_the_run(store, dataset, monkeypatch):
    monkeypatch.setattr("sightwords.descriptions.session.MAX_FAILURES_IN_A_ROW", 3)
    with pytest.raises(UnavailableError, match=r"3 requests in a row got no answer; the last one, for .*: timeout\."):
        ask(store, dataset, lambda r: Answer(r, "", "failed", "timeout"))
    assert store.counts() == {"failed": 3}


def test_halves_of_surrogate_pairs_do_not_end_the_run(store, dataset):
    ask(store, dataset, lambda r: f"{GOOD} \ud83d It is {r.name}.")
    assert store.counts() == {"ok": 5}
    assert all("\ud83d" not in row.text + (row.raw_text or "") for row in store.descriptions())
