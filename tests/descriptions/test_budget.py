"""Tests of the hard stops, with a describer that keeps questions in flight and answers in any order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sightwords.descriptions.budget import Budget, Limits, Spent, busy_seconds
from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.prices import Price
from sightwords.errors import ModelError

MAX_NEW_TOKENS = 50
PRICE = Price(input=2.0, output=8.0)


def answer(num_prompt=100, num_text=20, status="ok", name="a.jpg"):
    request = Request("k", 0, 0, name, "", "plain", "What is it?", None)
    return Answer(request, "text", status, num_prompt_tokens=num_prompt, num_text_tokens=num_text)


def make(limits, price=None, spent=None, clock=lambda: 0.0):
    return Budget(limits, price, spent or Spent(), MAX_NEW_TOKENS, clock)


class Simulated:
    """Answers as a server does: `window` questions in flight, the next to finish drawn at random.

    Args:
        window: questions at once.
        rng: what everything is drawn from.
        least: fewest prompt tokens of a question.
        most: most prompt tokens of a question.
        num_failing: of 10 questions, those that fail without telling their tokens.
        num_dropped: at the end of the first round, questions that are dropped.
    """

    def __init__(self, window, rng, least=100, most=100, num_failing=0, num_dropped=0):
        self.window, self.rng, self.least, self.most = window, rng, least, most
        self.num_failing, self.num_dropped = num_failing, num_dropped

    def describe(self, questions):
        open_ones, ended, questions = [], False, iter(questions)
        while open_ones or not ended:
            while not ended and len(open_ones) < self.window:
                question = next(questions, None)
                ended = question is None
                if not ended:
                    open_ones.append(question)
            if ended and self.num_dropped:
                del open_ones[-self.num_dropped :]
                self.num_dropped = 0
            if open_ones:
                open_ones.pop(self.rng.randrange(len(open_ones)))
                yield self.answer()

    def answer(self):
        if self.rng.randrange(10) < self.num_failing:
            return answer(None, None, "failed")
        return answer(self.rng.randint(self.least, self.most), self.rng.randint(0, MAX_NEW_TOKENS))


def drive(budget, describer, num_questions):
    """Run in rounds until everything is asked or the budget is exhausted; return the answers and the rounds."""
    questions, answers, num_rounds = iter(range(num_questions)), [], 0
    while len(answers) < num_questions and not budget.exhausted:
        num_rounds += 1
        before = len(answers)
        for one in describer.describe(budget.round(questions)):
            budget.settle(one)
            answers.append(one)
        if len(answers) == before:
            break
    return answers, num_rounds


def tokens(answers):
    return sum((a.num_prompt_tokens or 0) + (a.num_text_tokens or 0) for a in answers)


def test_without_limits_everything_is_let_out_at_once():
    budget = make(Limits())
    assert sum(budget.try_take() for _ in range(1000)) == 1000
    assert budget.exhausted == ""


def test_requests_are_counted_with_those_of_earlier_runs():
    budget = make(Limits(max_requests=10), spent=Spent(num_requests=7))
    assert [budget.try_take() for _ in range(4)] == [True, True, True, False]
    assert budget.exhausted == ""  # for now only: nothing is settled yet
    for _ in range(3):
        budget.settle(answer(None, None))
    assert budget.exhausted == "--max-requests 10 is reached: 10 asked."
    assert make(Limits(max_requests=10), spent=Spent(num_requests=12)).exhausted.endswith("12 asked.")


def test_a_refusal_for_now_is_told_from_one_for_good():
    budget = make(Limits(max_tokens=400), spent=Spent(max_prompt_tokens=100))
    assert [budget.try_take() for _ in range(3)] == [True, True, False]  # 150 reserved for each
    assert budget.exhausted == ""
    budget.settle(answer(100, 0))
    budget.settle(answer(100, 0))
    assert budget.try_take()  # 200 used, 150 reserved
    budget.settle(answer(100, 20))
    assert not budget.try_take()
    assert budget.exhausted == "--max-tokens 400 is reached: 320 used, and one more question may take 150."


def test_the_first_question_goes_alone_since_its_size_is_not_known():
    budget = make(Limits(max_tokens=10_000))
    assert [budget.try_take(), budget.try_take()] == [True, False]
    assert budget.exhausted == ""
    budget.settle(answer())
    assert sum(budget.try_take() for _ in range(100)) == (10_000 - 120) // 150


def test_a_known_size_or_a_limit_of_requests_needs_no_first_question_alone():
    counted = make(Limits(max_requests=5))
    assert sum(counted.try_take() for _ in range(9)) == 5
    known = make(Limits(max_tokens=1500), spent=Spent(max_prompt_tokens=100))
    assert sum(known.try_take() for _ in range(20)) == 10


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("kind", ["tokens", "cost"])
def test_no_limit_is_passed_and_its_end_is_reached(seed, kind):
    rng = random.Random(seed)
    window, limit = rng.choice([1, 3, 16, 64, 500]), rng.randint(2000, 60_000)
    failing = rng.choice([0, 0, 3])
    worst_cost = PRICE.cost(100, MAX_NEW_TOKENS)
    limits = Limits(max_tokens=limit) if kind == "tokens" else Limits(max_cost=worst_cost * limit / 150)
    budget = make(limits, PRICE)
    answers, num_rounds = drive(budget, Simulated(window, rng, num_failing=failing), 10**9)
    num_failed = sum(a.status == "failed" for a in answers)
    used = tokens(answers) + 150 * num_failed  # prompts all have 100 tokens: the largest is seen with the first
    cost = PRICE.cost(*(sum(getattr(a, n) or 0 for a in answers) for n in ("num_prompt_tokens", "num_text_tokens")))
    if kind == "tokens":
        assert limit - 150 < used <= limit
    else:
        assert limits.max_cost - worst_cost < cost + worst_cost * num_failed <= limits.max_cost * (1 + 1e-9)
    assert budget.exhausted
    assert num_rounds <= 25 + 3 * num_failed


class Watched(Budget):
    """Remembers what was known when the last question was let out."""

    def try_take(self):
        taken = super().try_take()
        if taken:
            self.at_last = (self.spent.max_prompt_tokens or 0, self.num_in_flight)
        return taken


@pytest.mark.parametrize("seed", range(30))
def test_larger_prompts_than_seen_pass_the_limit_by_their_difference_at_most(seed):
    rng = random.Random(seed)
    budget = Watched(Limits(max_tokens=rng.randint(5000, 30_000)), None, Spent(), MAX_NEW_TOKENS)
    answers, _ = drive(budget, Simulated(rng.choice([1, 8, 100]), rng, least=80, most=300), 10**9)
    largest_then, num_open = budget.at_last
    over = sum(max(0, one.num_prompt_tokens - largest_then) for one in answers[-num_open:])
    assert tokens(answers) <= budget.limits.max_tokens + over
    largest = max(one.num_prompt_tokens for one in answers)
    assert tokens(answers) > budget.limits.max_tokens - largest - MAX_NEW_TOKENS
    assert budget.spent.max_prompt_tokens == largest


@pytest.mark.parametrize("seed", range(20))
def test_the_same_command_again_keeps_within_the_same_limit(seed):
    rng = random.Random(seed)
    limits, spent, answers = Limits(max_tokens=20_000, max_requests=300), Spent(), []
    for _ in range(6):
        budget = make(limits, spent=spent)
        answers += drive(budget, Simulated(32, rng), rng.randint(1, 60))[0]
        spent = replace(budget.spent)
    assert tokens(answers) <= 20_000
    assert len(answers) <= 300
    assert spent.num_prompt_tokens + spent.num_text_tokens == tokens(answers)


def test_rounds_end_when_all_is_asked():
    budget = make(Limits(max_tokens=1_000_000))
    answers, num_rounds = drive(budget, Simulated(8, random.Random(0)), 100)
    assert (len(answers), num_rounds, budget.num_in_flight) == (100, 2, 0)  # one alone, then the others
    assert budget.exhausted == ""


def test_questions_that_a_round_dropped_are_not_counted_and_do_not_stop_the_next():
    budget = make(Limits(max_tokens=15_000), spent=Spent(max_prompt_tokens=100))
    answers, _ = drive(budget, Simulated(64, random.Random(1), num_dropped=40), 10**9)
    assert 15_000 - 150 < tokens(answers) <= 15_000


def test_a_round_leaves_what_does_not_fit_for_the_next():
    questions = iter("abcd")
    budget = make(Limits(max_requests=3))
    assert list(budget.round(questions)) == ["a", "b", "c"]
    assert next(questions) == "d"
    assert list(make(Limits(max_requests=9)).round(iter("xy"))) == ["x", "y"]


def test_give_back_takes_a_reservation_away():
    budget = make(Limits(max_requests=1))
    assert budget.try_take()
    budget.give_back()
    assert budget.try_take()
    assert not budget.try_take()


@pytest.mark.parametrize(
    ("limits", "flag"),
    [(Limits(max_tokens=1000), "--max-tokens"), (Limits(max_cost=1.0), "--max-cost")],
)
def test_unknown_tokens_are_an_error_where_tokens_are_limited(limits, flag):
    budget = make(limits, PRICE)
    assert budget.try_take()
    with pytest.raises(ModelError, match=rf"how many tokens it used for b\.jpg, so {flag} cannot.*--max-requests"):
        budget.settle(answer(100, None, name="b.jpg"))
    assert budget.spent.num_requests == 1


def test_unknown_tokens_do_not_matter_without_a_limit_of_tokens():
    make(Limits(max_requests=5)).settle(answer(None, None))
    make(Limits(max_cost=5), Price(per_hour=1)).settle(answer(None, None))


def test_failures_without_tokens_count_at_their_most_expensive():
    budget = make(Limits(max_tokens=1000), spent=Spent(max_prompt_tokens=100))
    for _ in range(4):
        assert budget.try_take()
        budget.settle(answer(None, None, "failed"))
    assert sum(budget.try_take() for _ in range(9)) == 2
    budget.settle(answer(100, 50))
    budget.settle(answer(100, 50))
    assert "300 used and 4 failed without telling their tokens, counted at their most" in budget.exhausted
    again = make(Limits(max_tokens=1000), spent=budget.spent)
    assert again.exhausted == budget.exhausted


def test_longer_answers_than_allowed_are_believed():
    budget = make(Limits(max_tokens=1000), spent=Spent(max_prompt_tokens=100))
    budget.try_take()
    budget.settle(answer(100, 300))  # a server that counts its reasoning
    assert [budget.try_take(), budget.try_take()] == [True, False]


def test_a_cost_that_meets_its_limit_exactly_is_allowed():
    price = Price(output=1.1)  # 200 tokens cost 0.00022000000000000003 in floats
    budget = make(Limits(max_cost=0.00022), price, Spent(max_prompt_tokens=0))
    assert [budget.try_take() for _ in range(5)] == [True, True, True, True, False]
    for _ in range(4):
        budget.settle(answer(0, MAX_NEW_TOKENS))
    told = "--max-cost 0.00022 USD is reached: 0.00022 USD spent, and one more question may take 0.000055 USD."
    assert budget.exhausted == told


def test_a_rented_machine_stops_before_its_time_is_up():
    now = 0.0
    budget = make(Limits(max_cost=1.0), Price(per_hour=36), Spent(seconds=10), clock=lambda: now)  # 0.01 a second
    assert all(budget.try_take() for _ in range(50))  # at the same time: the hour is paid once
    now = 6.0
    budget.settle(answer(None, None))  # took 6 s
    assert budget.spent.seconds == pytest.approx(16)
    now = 84.0
    assert budget.try_take()  # 10 + 84 + 6 = 100 s
    now = 84.5
    assert not budget.try_take()
    assert (
        budget.exhausted == "--max-cost 1.00 USD is reached: 0.94 USD spent, and one more question may take 0.060 USD."
    )


def test_the_slowest_answer_is_told_in_whatever_order_they_come():
    times = [0.0]
    budget = make(Limits(max_cost=1.0), Price(per_hour=36), clock=lambda: times[-1])
    for time_s in (0.0, 1.0, 2.0):
        times.append(time_s)
        budget.try_take()
    for time_s in (3.0, 4.0, 9.0):
        times.append(time_s)
        budget.settle(answer(None, None))
    times.append(92.5)
    assert budget.try_take()
    times.append(93.5)  # the last one waited 7 s; 93.5 + 7 > 100
    assert not budget.try_take()


def test_busy_seconds_count_requests_at_the_same_time_once():
    together = [(1000 + 0.1 * i, 5.0) for i in range(101)]  # 50 in flight at any time, for 10 s
    assert busy_seconds(together) == pytest.approx(15.0)
    batches = [(1000 + 8.0 * batch, 1.0) for batch in range(5) for _ in range(8)]  # each its share of a batch's 8 s
    assert busy_seconds(batches) == pytest.approx(33.0)
    random.Random(0).shuffle(together)
    assert busy_seconds([*together, *((t + 86400, s) for t, s in together)]) == pytest.approx(30.0)
    assert busy_seconds([(5.0, None), (7.0, None)]) == pytest.approx(2.0)
    assert busy_seconds([]) == 0.0
