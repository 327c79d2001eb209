"""Texts become vectors: in order, in threads that share the cores, in the precision that a trial finds exact enough."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sightwords.errors import ModelError
from sightwords.text import encode as module
from sightwords.text.encode import default_rule, encode_here, plan_blocks, sample, try_bf16
from sightwords.text.encoders import EncoderInfo
from sightwords.text.plan import BLOCK, Batch, BatchRule, plan_block


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


@pytest.mark.parametrize(
    ("device", "num_cores", "num_threads", "cores_of_each"),
    [("cpu", 1, 1, 1), ("cpu", 3, 3, 1), ("cpu", 40, 16, 2), ("cuda", 40, 1, 40)],
)
def test_batches_come_in_order_and_the_cores_are_shared(device, num_cores, num_threads, cores_of_each, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: getattr(local, "value", num_cores))
    local = threading.local()
    monkeypatch.setattr(torch, "set_num_threads", lambda value: setattr(local, "value", value))
    encoder = Tokens(device)
    found = list(encode_here(encoder, _batches(50)))
    assert [batch.number for batch, _ in found] == list(range(50))
    assert [vectors[:, 0].tolist() for _, vectors in found] == [[n, n + 1] for n in range(50)]
    assert {float(cores) for _, vectors in found for cores in vectors[:, 1]} == {cores_of_each}
    assert len(encoder.threads) <= num_threads


def test_batches_are_taken_as_they_are_needed_and_an_error_drops_the_rest():
    taken, num_threads = list[int](), torch.get_num_threads()
    results = encode_here(Tokens(), (taken.append(batch.number) or batch for batch in _batches(1000)))
    next(results)
    assert len(taken) < 60
    results.close()
    encoder = Tokens(fails_at=3)
    with pytest.raises(ModelError, match="this one fails"):
        list(encode_here(encoder, _batches(1000)))
    assert len(encoder.sizes) < 100
    with ThreadPoolExecutor(1) as thread:
        assert torch.get_num_threads() == thread.submit(torch.get_num_threads).result() == num_threads


def test_a_batch_is_halved_where_memory_runs_out():
    encoder = Tokens(room=3)
    ((_, found),) = encode_here(encoder, _batches(1, 10))
    assert found[:, 0].tolist() == list(range(10))
    assert encoder.sizes == [10, 5, 2, 3, 5, 2, 3]
    with pytest.raises(ModelError, match="too little memory for one text"):
        list(encode_here(Tokens(room=0), _batches(1)))


def test_blocks_are_planned_ahead_in_order():
    texts, rule = ["x" * n for n in range(1, 30)], BatchRule(4, None, 3)
    for encoder in (Tokens(), Slow()):
        found = plan_blocks(encoder, texts, [1, 5, 7], rule)
        rows = [[batch.rows.tolist() for batch in batches] for batches in found]
        assert rows == [[b.rows.tolist() for b in plan_block(encoder, texts, block, rule)] for block in (1, 5, 7)]


def test_batches_suit_the_device():
    assert default_rule(Tokens(), 7) == BatchRule(BLOCK, None, 7)
    assert default_rule(Tokens()).max_tokens == 1024
    assert default_rule(Tokens("cuda")).max_tokens == 32_768
    assert default_rule(Slow()).max_tokens == 2048


TEXTS = [f"text {i}" for i in range(300)]


class Slow:
    """Takes its time for each text; in bf16 less or more, with vectors turned away by an angle of a given cosine."""

    seconds = 0.0  # that have passed, by its own clock

    def __init__(self, cosine: float = 1, speedup: float = 9, precision: str = "fp32", choice: bool = True) -> None:
        self.info = EncoderInfo("slow", "slow", "1", 2, None, precision)
        self.cosine, self.speedup, self.choice = cosine, speedup, choice

    def cast(self, precision: str) -> Slow:
        return Slow(self.cosine, self.speedup, precision) if self.choice else self

    def num_tokens(self, texts):
        return [len(text) for text in texts]

    def encode(self, texts):
        low = self.info.precision == "bf16"
        Slow.seconds += len(texts) / (self.speedup if low else 1)
        angle = np.arccos(self.cosine) if low else 0.0
        last = np.array([text == "text 299" for text in texts])  # one text alone is that far off
        return np.stack([np.cos(angle * last), np.sin(angle * last)], 1).astype(np.float32)


@pytest.mark.parametrize(
    ("cosine", "speedup", "passed"), [(0.9995, 3, True), (0.998, 3, False), (0.9995, 0.3, False), (0.998, 0.3, False)]
)
def test_bf16_passes_if_exact_enough_and_faster(monkeypatch, cosine, speedup, passed):
    monkeypatch.setattr(module, "has_bf16", lambda device: True)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: Slow.seconds))
    trial = try_bf16(Slow(cosine, speedup), TEXTS)
    assert (trial.passed, trial.num_texts, trial.speedup) == (passed, 64, speedup)
    assert trial.smallest_cosine == pytest.approx(cosine, abs=3e-4)


def test_nothing_is_tried_without_instructions_or_without_a_choice(monkeypatch):
    for available, encoder in ((False, Slow()), (True, Slow(choice=False))):
        monkeypatch.setattr(module, "has_bf16", lambda device, available=available: available)
        assert try_bf16(encoder, TEXTS) is None


def test_the_sample_is_spread_over_all_texts():
    assert sample(TEXTS, 4) == ["text 0", "text 99", "text 199", "text 299"]
    assert sample(TEXTS[:1], 10) == TEXTS[:1]
