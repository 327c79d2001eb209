"""Prices, and the hard stops with a describer that keeps questions in flight and answers in any order."""

from __future__ import annotations

import random

import pytest

from sightwords.descriptions.budget import Budget, Limits, Price, read_price
from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.schema import Spent
from sightwords.errors import ConfigError, ModelError, UnknownNameError

MAX_NEW_TOKENS = 50
PRICE = Price(input=2.0, output=8.0)


def read(tmp_path, text, model="m"):
    path = tmp_path / "prices.yaml"
    path.write_text(text, encoding="utf-8")
    return read_price(path, model)


def test_price_by_name_and_by_pattern(tmp_path):
    table = "currency: EUR\n'*72B*': {per_hour: 4}\nqwen*: {input: 0, output: 0, per_hour: 2}\nQwen-A: {per_hour: 3}\n"
    assert read(tmp_path, table, "qwen-a") == Price(per_hour=3, currency="EUR")
    assert read(tmp_path, table, "Qwen/Qwen3-VL-72b").per_hour == 4  # the first pattern that fits
    assert read(tmp_path, table, "Qwen/Qwen3-VL-8B").per_hour == 2
    with pytest.raises(UnknownNameError, match=r"lama.*prices\.yaml"):
        read(tmp_path, table, "lama")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("m: {input: -1, output: 2}", "-1.*0 or more"),
        ("m: {input: 1, output: 1, per_minute: 2}", "per_minute"),
        ("m: {per_hour: 1", "line 1"),
        ("m: !!python/object/apply:os.system ['true']", "python/object"),
        ("- m", "no table"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, text)
    with pytest.raises(ConfigError, match="No such file"):
        read_price(tmp_path / "none.yaml", "m")


def test_cost_of_tokens_and_hours():
    price = Price(input=0.5, output=2.0, per_hour=3.6)
    assert price.cost(2_000_000, 500_000, 100) == pytest.approx(2.1)
    assert [Price().money(amount) for amount in (0, 1234.5, 0.0042)] == ["0.00 USD", "1,234.50 USD", "0.0042 USD"]


def answer(num_prompt=100, num_text=20, status="ok"):
    request = Request("k", 0, 0, "a.jpg", "", "What is it?", None)
    return Answer(request, "text", status, num_prompt_tokens=num_prompt, num_text_tokens=num_text)


def make(limits, price=None, spent=None, clock=lambda: 0.0):
    return Budget(limits, price, spent or Spent(), MAX_NEW_TOKENS, clock)


def send(budget, num=1000):
    """Return how many questions a round sends while nothing is answered."""
    return sum(1 for _ in budget.round(iter(range(num))))


def describe(questions, rng, window, prompts=(100, 100), num_failing=0):
    """Answer as a server does: `window` questions in flight, the next to finish drawn at random."""
    num_open, questions, ended = 0, iter(questions), False
    while num_open or not ended:
        while not ended and num_open < window:
            ended = next(questions, None) is None
            num_open += not ended
        if num_open:
            num_open -= 1
            failed = rng.randrange(10) < num_failing
            yield answer(None, None, "failed") if failed else answer(rng.randint(*prompts), rng.randint(0, 50))


def drive(budget, rng, num_questions=10**9, **server):
    """Run in rounds until everything is asked or the budget is exhausted; return the answers."""
    questions, answers = iter(range(num_questions)), []
    while len(answers) < num_questions and not budget.exhausted:
        for one in describe(budget.round(questions), rng, **server):
            budget.settle(one)
            answers.append(one)
    return answers


def tokens(answers):
    return sum((one.num_prompt_tokens or 0) + (one.num_text_tokens or 0) for one in answers)


def test_requests_are_counted_with_those_of_earlier_runs():
    assert send(make(Limits())) == 1000
    budget = make(Limits(max_requests=10), spent=Spent(num_requests=7))
    assert send(budget) == 3
    assert budget.exhausted == ""  # until they are settled
    for _ in range(3):
        budget.settle(answer(None, None))
    assert "--max-requests 10 is reached" in budget.exhausted


def test_a_round_leaves_what_does_not_fit_and_the_next_goes_on():
    questions = iter("abcd")
    budget = make(Limits(max_tokens=400), spent=Spent(max_prompt_tokens=100))
    assert list(budget.round(questions)) == ["a", "b"]  # 150 reserved for each
    budget.settle(answer(100, 0))
    budget.settle(answer(100, 0))
    assert list(budget.round(questions)) == ["c"]
    budget.settle(answer(100, 20))
    assert list(budget.round(questions)) == []
    assert "--max-tokens 400 is reached: 320 used" in budget.exhausted
    assert next(questions) == "d"


def test_the_first_question_goes_alone_while_its_size_is_not_known():
    budget = make(Limits(max_tokens=10_000))
    assert send(budget) == 1
    budget.settle(answer())
    assert send(budget) == (10_000 - 120) // 150


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", ["tokens", "cost"])
def test_no_limit_is_passed_and_its_end_is_reached(seed, kind):
    rng = random.Random(seed)
    window, limit, num_failing = rng.choice([1, 3, 16, 64, 500]), rng.randint(2000, 60_000), rng.choice([0, 0, 3])
    worst_cost = PRICE.cost(100, MAX_NEW_TOKENS)
    limits = Limits(max_tokens=limit) if kind == "tokens" else Limits(max_cost=worst_cost * limit / 150)
    answers = drive(make(limits, PRICE), rng, window=window, num_failing=num_failing)
    num_failed = sum(one.status == "failed" for one in answers)
    cost = PRICE.cost(*(sum(getattr(a, n) or 0 for a in answers) for n in ("num_prompt_tokens", "num_text_tokens")))
    if kind == "tokens":
        assert limit - 150 < tokens(answers) + 150 * num_failed <= limit
    else:
        assert limits.max_cost - worst_cost < cost + worst_cost * num_failed <= limits.max_cost * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_larger_prompts_than_seen_pass_the_limit_by_their_difference_at_most(seed):
    rng = random.Random(seed)
    budget = make(Limits(max_tokens=rng.randint(5000, 30_000)))
    window = rng.choice([1, 8, 100])
    answers = drive(budget, rng, window=window, prompts=(80, 300))
    assert tokens(answers) <= budget.limits.max_tokens + (300 - 80) * min(window, len(answers))
    assert tokens(answers) > budget.limits.max_tokens - 300 - MAX_NEW_TOKENS


@pytest.mark.parametrize("seed", range(10))
def test_runs_one_after_the_other_and_processes_side_by_side_keep_the_same_limit(seed):
    rng, limits, spent, answers = random.Random(seed), Limits(max_tokens=20_000, max_requests=300), Spent(), []
    for _ in range(4):
        budget = make(limits, spent=spent)
        answers += drive(budget, rng, rng.randint(1, 60), window=32)
        spent = budget.spent
    part = limits.part(spent, None, 3)
    for _ in range(3):
        answers += drive(make(part, spent=Spent(**vars(spent))), rng, window=32)
    assert 20_000 - 3 * 151 < tokens(answers) <= 20_000
    assert len(answers) <= 300


def test_unknown_tokens_are_an_error_where_tokens_are_limited():
    budget = make(Limits(max_cost=1.0), PRICE)
    assert send(budget) == 1
    with pytest.raises(ModelError, match=r"a\.jpg.*--max-requests"):
        budget.settle(answer(100, None))
    make(Limits(max_requests=5)).settle(answer(None, None))
    make(Limits(max_cost=5), Price(per_hour=1)).settle(answer(None, None))


def test_failures_without_tokens_count_at_their_most_expensive():
    budget = make(Limits(max_tokens=1000), spent=Spent(max_prompt_tokens=100))
    for _ in range(4):
        budget.settle(answer(None, None, "failed"))
    assert send(budget) == 2
    budget.settle(answer(100, 300))  # longer than allowed: a server that counts its reasoning
    assert "4 failed" in budget.exhausted


def test_a_cost_that_meets_its_limit_exactly_is_allowed():
    price = Price(output=1.1)  # 200 tokens cost 0.00022000000000000003 in floats
    assert send(make(Limits(max_cost=0.00022), price, Spent(max_prompt_tokens=0))) == 4


def test_a_rented_machine_stops_before_its_time_is_up():
    now = 0.0
    budget = make(Limits(max_cost=1.0), Price(per_hour=36), Spent(seconds=10), clock=lambda: now)  # 0.01 a second
    questions = budget.round(iter(range(60)))
    assert [next(questions) for _ in range(50)]  # at the same time: the hour is paid once
    now = 6.0
    budget.settle(answer(None, None))  # took 6 s
    now = 84.0
    assert next(questions) == 50  # 10 + 84 + 6 = 100 s
    now = 84.5
    assert next(questions, None) is None
    assert "0.94 USD spent" in budget.exhausted
