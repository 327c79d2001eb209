"""Texts become vectors: in order, in threads that share the cores, in the precision that a trial finds exact enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sightwords.errors import ModelError
from sightwords.text import encode as module
from sightwords.text.encode import default_rule, encode_here, encode_texts, plan_blocks, sample, try_bf16
from sightwords.text.encoders import EncoderInfo, open_encoder
from sightwords.text.plan import BLOCK, Batch, BatchRule, plan_block

AXES = {"red": 0, "blue": 1, "green": 2}


class Counting:
    """Counts words: a text's vector is how often it has each color, times 7; a token a word and one special."""

    def __init__(self, max_tokens: int | None = 6) -> None:
        self.info = EncoderInfo("counting", "counting", "1", 3, max_tokens, "fp32")
        self.batches: list[list[str]] = []

    def cast(self, precision: str) -> Counting:
        return self

    def num_tokens(self, texts: Sequence[str]) -> list[int]:
        return [1 + len(text.split()) for text in texts]

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.batches.append(list(texts))
        assert self.info.max_tokens is None or max(self.num_tokens(texts)) <= self.info.max_tokens
        vectors = np.zeros((len(texts), 3), np.float32)
        for row, text in enumerate(texts):
            for word in text.split():
                vectors[row, AXES[word]] += 7
        return vectors


def test_pieces_are_pooled_by_their_numbers_of_tokens():
    encoder = Counting()
    found = encode_texts(encoder, ["green", "red red red red blue blue blue"], 10)
    assert sorted(text for batch in encoder.batches for text in batch) == ["blue blue", "green", "red red red red blue"]
    first, second = np.array([4, 1, 0]) / 17**0.5, np.array([0, 1, 0])
    pooled = 6 * first + 3 * second  # five words and a special token; two words and a special token
    np.testing.assert_allclose(found[1], pooled / np.linalg.norm(pooled), atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_size_of_a_batch_changes_nothing(batch_size):
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(list(AXES), draw.integers(1, 20))) for _ in range(40)]
    np.testing.assert_array_equal(encode_texts(Counting(), texts, batch_size), encode_texts(Counting(), texts, 7))


class Tokens:
    """Takes tokens; a text's vector is its sum of tokens and the thread's number of cores."""

    def __init__(self, device: str = "cpu", room: int = 10**6, fails_at: int = -1) -> None:
        self.info = EncoderInfo("tokens", "tokens", "1", 2, None, "fp32", device=device)
        self.room, self.fails_at, self.threads = room, fails_at, set[str]()
        self.sizes: list[int] = []

    def num_tokens(self, texts):
        return [len(text) for text in texts]

    def encode(self, texts):
        raise AssertionError("tokens were there")

    def cast(self, precision):
        return self

    def tokenize(self, texts):
        return [np.array([len(text)], np.int32) for text in texts]

    def encode_tokens(self, tokens):
        self.threads.add(threading.current_thread().name)
        self.sizes.append(len(tokens))
        if len(tokens) > self.room:
            raise torch.OutOfMemoryError("no room")
        if int(tokens[0][0]) == self.fails_at:
            raise ModelError("this one fails")
        time.sleep(0.001)
        return np.array([[t.sum(), torch.get_num_threads()] for t in tokens], np.float32)


def _batches(count: int, size: int = 2) -> list[Batch]:
    tokens = [[np.array([number, part], np.int32) for part in range(size)] for number in range(count)]
    places = np.arange(size)
    return [Batch(0, n, places, places, ["x"] * size, t, np.full(size, 2)) for n, t in enumerate(tokens)]


@pytest.mark.parametrize("num_cores", [1, 3, 40])
def test_all_batches_come_in_order_and_the_cores_are_shared(num_cores, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: getattr(local, "value", num_cores))
    local = threading.local()
    monkeypatch.setattr(torch, "set_num_threads", lambda value: setattr(local, "value", value))
    encoder = Tokens()
    found = list(encode_here(encoder, _batches(50)))
    assert [batch.number for batch, _ in found] == list(range(50))
    assert [vectors[:, 0].tolist() for _, vectors in found] == [[n, n + 1] for n in range(50)]
    assert {float(cores) for _, vectors in found for cores in vectors[:, 1]} == {num_cores // min(num_cores, 16)}
    assert len(encoder.threads) <= min(num_cores, 16)


def test_torch_keeps_its_number_of_threads():
    before = torch.get_num_threads()
    list(encode_here(Tokens(), _batches(5)))
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(torch.get_num_threads).result() == before


def test_a_gpu_has_one_thread_and_all_cores(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("the cores are not shared"))
    encoder = Tokens("cuda")
    assert len(list(encode_here(encoder, _batches(9)))) == 9
    assert len(encoder.threads) == 1


def test_batches_are_taken_as_they_are_needed_and_an_error_drops_the_rest():
    taken: list[int] = []
    results = encode_here(Tokens(), (taken.append(batch.number) or batch for batch in _batches(1000)))
    next(results)
    assert len(taken) < 60
    results.close()
    encoder = Tokens(fails_at=3)
    with pytest.raises(ModelError, match="this one fails"):
        list(encode_here(encoder, _batches(1000)))
    assert len(encoder.sizes) < 100


def test_a_batch_is_halved_where_memory_runs_out():
    encoder = Tokens(room=3)
    ((_, found),) = encode_here(encoder, _batches(1, 10))
    assert found[:, 0].tolist() == list(range(10))
    assert encoder.sizes == [10, 5, 2, 3, 5, 2, 3]
    with pytest.raises(ModelError, match="too little memory for one text"):
        list(encode_here(Tokens(room=0), _batches(1)))


def test_blocks_are_planned_ahead_in_order():
    texts, rule = ["x" * n for n in range(1, 30)], BatchRule(4, None, 3)
    for encoder in (Tokens(), Counting(None)):
        found = plan_blocks(encoder, texts, [1, 5, 7], rule)
        expected = [plan_block(encoder, texts, block, rule) for block in (1, 5, 7)]
        assert [[b.rows.tolist() for b in batches] for batches in found] == (
            [[b.rows.tolist() for b in batches] for batches in expected]
        )


def test_batches_suit_the_device():
    assert default_rule(Tokens(), 7) == BatchRule(BLOCK, None, 7)
    assert default_rule(Tokens()).max_tokens == 1024
    assert default_rule(Tokens("cuda")).max_tokens == 32_768
    assert default_rule(Counting()).max_tokens == 2048


TEXTS = [f"text {i}" for i in range(300)]


class Slow:
    """Waits for each text; in bf16 less or more, with vectors that are turned away by an angle of a given cosine."""

    def __init__(self, cosine: float, speedup: float, precision: str = "fp32") -> None:
        self.info = EncoderInfo("slow", "slow", "1", 2, None, precision)
        self.cosine, self.speedup = cosine, speedup

    def cast(self, precision: str) -> Slow:
        return Slow(self.cosine, self.speedup, precision)

    def num_tokens(self, texts):
        return [len(text) for text in texts]

    def encode(self, texts):
        low = self.info.precision == "bf16"
        time.sleep(2e-4 * len(texts) / (self.speedup if low else 1))
        angle = np.arccos(self.cosine) if low else 0.0
        last = np.array([text == "text 299" for text in texts])  # one text alone is that far off
        return np.stack([np.cos(angle * last), np.sin(angle * last)], 1).astype(np.float32)


@pytest.mark.parametrize(
    ("cosine", "speedup", "passed"), [(0.9995, 3, True), (0.998, 3, False), (0.9995, 0.3, False), (0.998, 0.3, False)]
)
def test_bf16_passes_if_exact_enough_and_faster(monkeypatch, cosine, speedup, passed):
    monkeypatch.setattr(module, "has_bf16", lambda device: True)
    trial = try_bf16(Slow(cosine, speedup), TEXTS)
    assert (trial.passed, trial.num_texts) == (passed, 64)
    assert trial.smallest_cosine == pytest.approx(cosine, abs=3e-4)
    assert (trial.speedup > 1) == (speedup > 1)


def test_nothing_is_tried_without_instructions_or_without_a_choice(monkeypatch):
    for available, encoder in ((False, Slow(1, 9)), (True, Counting())):
        monkeypatch.setattr(module, "has_bf16", lambda device, available=available: available)
        assert try_bf16(encoder, TEXTS) is None


def test_the_sample_is_spread_over_all_texts():
    assert sample(TEXTS, 4) == ["text 0", "text 99", "text 199", "text 299"]
    assert sample(TEXTS[:1], 10) == TEXTS[:1]


def test_a_real_encoder_in_bf16_is_near_and_not_the_same(tiny_st, monkeypatch):
    monkeypatch.setattr(module, "has_bf16", lambda device: True)
    trial = try_bf16(open_encoder(f"st:{tiny_st}", "cpu"), ["a red bird", "two dog near the water", "a stone"])
    assert 0.99 < trial.smallest_cosine < 1
    assert trial.speedup > 0
