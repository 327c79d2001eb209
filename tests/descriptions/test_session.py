"""The asking: answers filtered and committed one by one, rejected ones asked again, nothing asked twice."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describe import DescribeResult, describe
from sightwords.descriptions.describers import DESCRIBERS
from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.schema import DescriberInfo
from sightwords.descriptions.session import prefetch
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import UnavailableError

GOOD = "A small red bird with a black mask sits on a snowy branch."


class Scripted(Describer):
    """A describer whose answers a function gives; the real ones have tests of their own."""

    num_ahead = 3
    answer = staticmethod(lambda request: good(request))
    asked: list[Request]

    def __init__(self, name="", config=None, sees_images=True):
        super().__init__(name, config, sees_images)
        Scripted.asked = []

    def info(self):
        return DescriberInfo("scripted", "scripted")

    def prepare(self, data, name):
        return len(data)

    def describe(self, requests, stopping):
        for request in requests:
            self.asked.append(request)
            found = Scripted.answer(request)
            if not isinstance(found, Answer):
                found = Answer(request, found, num_prompt_tokens=10, num_text_tokens=5)
            yield found


def good(request: Request) -> str:
    return f"{GOOD} It is {request.name}."


@dataclass
class Runs:
    """Describes the photos by a script, again and again."""

    photos: Path
    out: Path
    monkeypatch: pytest.MonkeyPatch
    asked: list[Request] = field(default_factory=list)

    def __call__(self, answer=good, stopping=lambda: False, **options) -> DescribeResult:
        self.monkeypatch.setattr(Scripted, "answer", staticmethod(answer))
        try:
            return describe(DescribeConfig(str(self.photos), out=self.out, describer="scripted", **options), stopping)
        finally:
            self.asked = Scripted.asked

    def counts(self, **which) -> dict[str, int]:
        with DescriptionSet(self.out) as store:
            return store.counts(**which)

    def rows(self, status="ok"):
        with DescriptionSet(self.out) as store:
            return list(store.descriptions(status))


@pytest.fixture
def run(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(DESCRIBERS, "scripted", f"{__name__}:Scripted")
    return Runs(photos, tmp_path / "D.db", monkeypatch)


def test_a_rejected_answer_is_kept_and_asked_again_with_another_seed(run, capsys):
    result = run(lambda r: "I'm sorry, but I can't help with that." if r.attempt < 2 else good(r))
    assert Counter(request.attempt for request in run.asked) == {0: 5, 1: 5, 2: 5}
    assert (result.num_ok, result.num_rejected, run.counts()) == (5, 0, {"ok": 5})
    assert "Describing: 5/5" in capsys.readouterr().err
    with DescriptionSet(run.out) as store:
        rows = list(store.rows(1, 1, [run.asked[0].key]))
    assert [(row.status, row.reason, row.attempt) for row in rows] == [
        ("rejected", "refusal", 0), ("rejected", "refusal", 1), ("ok", "", 2),
    ]  # fmt: skip


def test_after_the_last_try_it_stays_rejected_until_it_is_retried(run):
    assert run(lambda _: "", tries=2).num_rejected == 5
    assert len(run.asked) == 10
    run(tries=2)
    assert not run.asked
    run(lambda r: good(r) if r.attempt == 3 else "", tries=2, retry_failed=True)
    assert Counter(request.attempt for request in run.asked) == {2: 5, 3: 5}
    assert run.counts() == {"ok": 5}


def test_retrying_asks_only_where_an_answer_failed_or_was_rejected(run):
    first: list[str] = []

    def answer(request):
        first.append(request.key)
        bad = {1: "", 2: Answer(request, "", "failed", "no answer within 5 s")}
        return bad.get(len(first), good(request))

    run(answer, tries=1, max_requests=4)
    run(tries=1, retry_failed=True)
    assert {request.key for request in run.asked} == set(first[:2])
    assert run.counts() == {"ok": 4}  # the fifth was never asked, and is left to an ordinary run


def test_refusals_of_the_server_are_not_repeated(run):
    result = run(lambda r: Answer(r, "", "rejected", "refused: 400: content policy"))
    assert len(run.asked) == 5
    assert {(r.status, r.reason, r.count) for r in result.reasons} == {("rejected", "refused: 400: content policy", 5)}
    run()
    assert not run.asked


def test_failures_are_left_to_the_next_run_which_asks_the_same_attempt(run):
    assert run(lambda r: Answer(r, "", "failed", "timeout")).num_failed == 5
    run()
    assert {request.attempt for request in run.asked} == {0}
    assert run.counts() == {"ok": 5}


def test_the_raw_text_is_kept_where_cleaning_changed_it(run):
    run(lambda r: f"<think>A bird?</think>The image shows a **red** bird on a branch, next to {r.name}.")
    for row in run.rows():
        assert row.raw_text.startswith("<think>")
        assert row.text.startswith("A red bird on a branch")
    run(prompt="short")
    assert {row.raw_text for row in run.rows() if row.prompt == 2} == {None}


def test_the_same_text_for_many_images_is_rejected_and_asked_again(run):
    result = run(lambda r: GOOD if r.attempt == 0 else good(r), max_same=3)
    assert Counter(request.attempt for request in run.asked) == {0: 5, 1: 5}
    assert run.counts() == {"ok": 5}
    assert [(r.status, r.count) for r in result.reasons if "same text" in r.reason] == [("rejected", 5)]


def test_a_class_is_asked_once_without_an_image_and_all_its_images_get_the_answer(run):
    result = run(lambda r: f"{GOOD} {r.text}", prompt="class_features")
    assert [(request.key, request.image) for request in run.asked] == [("class:bar", None), ("class:red disc", None)]
    assert result.num_ok == 5
    assert len({row.text for row in run.rows()}) == 2
    assert run(prompt="class_features").num_skipped == 2
    assert not run.asked


@pytest.mark.parametrize(
    ("limits", "num"), [({"max_requests": 3}, 3), ({"max_tokens": 80}, 2), ({"max_cost": 80e-6, "prices": "p.yaml"}, 2)]
)
def test_limits_stop_and_keep_everything(run, tmp_path, monkeypatch, limits, num):
    monkeypatch.chdir(tmp_path)
    Path("p.yaml").write_text("scripted: {input: 1, output: 1}")
    # each question takes 15 tokens, and might take 10 + 50
    result = run(max_new_tokens=50, **limits)
    assert len(run.asked) == run.counts()["ok"] == num
    assert re.match(r"--max-(requests 3|tokens 80|cost 0\.000080 USD) is reached", result.stopped)
    run(max_new_tokens=50, **limits)
    assert not run.asked
    assert run(max_new_tokens=50, max_tokens=10_000).stopped == ""
    assert len(run.asked) == 5 - num


def test_stopping_asks_nothing_more(run):
    with pytest.raises(KeyboardInterrupt):
        run(stopping=lambda: len(Scripted.asked) >= 2)
    first = list(run.asked)
    assert (len(first), run.counts()) == (2, {"ok": 2})
    run()
    assert len({request.key for request in first + run.asked}) == len(first + run.asked) == 5


def test_images_that_vanish_or_change_are_named_and_the_others_described(run, photos, monkeypatch):
    def info(describer):  # asked for once the images are listed
        (photos / "train" / "bar" / "d.png").unlink()
        (photos / "train" / "bar" / "e.jpg").write_bytes(b"changed")
        return DescriberInfo("scripted", "scripted")

    monkeypatch.setattr(Scripted, "info", info)
    result = run()
    problems = {Path(problem.name).name: problem.reason for problem in result.problems}
    assert "No such file" in problems["d.png"]
    assert "changed" in problems["e.jpg"]
    assert (len(run.asked), run.counts()) == (3, {"ok": 3})  # their keys say nothing about what is there now


def test_many_failures_in_a_row_end_the_run(run, photos):
    for i in range(30):
        (photos / "train" / "bar" / f"{i}.png").write_bytes((photos / "train/bar/d.png").read_bytes() + bytes([i]))
    with pytest.raises(UnavailableError, match=r"20 requests in a row.*timeout.*0 descriptions are stored"):
        run(lambda r: Answer(r, "", "failed", "timeout"))
    assert run.counts() == {"failed": 20}


def test_halves_of_surrogate_pairs_do_not_end_the_run(run):
    run(lambda r: f"{GOOD} \ud83d It is {r.name}.")
    assert run.counts() == {"ok": 5}
    assert all("\ud83d" not in row.text + (row.raw_text or "") for row in run.rows())


def test_prefetch_keeps_the_order_and_takes_no_more_than_num_ahead():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    def slow_first(i):
        time.sleep(0.03 if i == 0 else 0)
        return i, threading.current_thread().name

    pairs = prefetch(slow_first, items(), 5)
    for wanted in range(10):
        item, future = next(pairs)
        assert item == future.result()[0] == wanted
        assert future.result()[1].startswith("sightwords-prefetch")
        assert len(taken) <= wanted + 5
    pairs.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("sightwords-prefetch")]


def test_an_error_of_a_describers_own_ends_the_run_and_the_threads(run, monkeypatch):
    monkeypatch.setattr(Scripted, "prepare", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run()
    assert not [t for t in threading.enumerate() if t.name.startswith("sightwords-prefetch")]
