"""Threads that encode: all batches, in order, with their share of the cores, and what they do when memory runs out."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from sightwords.errors import ModelError
from sightwords.text import encode as module
from sightwords.text.encode import LocalEngine, default_rule, encode_batch
from sightwords.text.encoders.encoder import EncoderInfo
from sightwords.text.plan import Batch, BatchRule


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
        raise AssertionError

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
    return [Batch(n, places, places, ["x"] * size, t, np.full(size, 2)) for n, t in enumerate(tokens)]


@pytest.mark.parametrize("num_cores", [1, 3, 40])
def test_all_batches_come_in_order_and_the_cores_are_shared(num_cores, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: getattr(local, "value", num_cores))
    local = threading.local()
    monkeypatch.setattr(torch, "set_num_threads", lambda value: setattr(local, "value", value))
    encoder = Tokens()
    with LocalEngine(encoder) as engine:
        found = list(engine.encode(_batches(50)))
    assert [batch.number for batch, _ in found] == list(range(50))
    assert [vectors[:, 0].tolist() for _, vectors in found] == [[n, n + 1] for n in range(50)]
    assert {float(cores) for _, vectors in found for cores in vectors[:, 1]} == {num_cores // min(num_cores, 16)}
    assert len(encoder.threads) <= min(num_cores, 16)
    assert local.value == num_cores // min(num_cores, 16) * min(num_cores, 16)


def test_torch_keeps_its_number_of_threads():
    before = torch.get_num_threads()
    with LocalEngine(Tokens()) as engine:
        list(engine.encode(_batches(5)))
    assert torch.get_num_threads() == before
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_gpu_has_one_thread_and_all_cores(monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("the cores are not shared"))
    encoder = Tokens("cuda")
    with LocalEngine(encoder) as engine:
        assert len(list(engine.encode(_batches(9)))) == 9
    assert len(encoder.threads) == 1


def test_batches_are_taken_as_they_are_needed():
    taken: list[int] = []

    def batches():
        for batch in _batches(1000):
            taken.append(batch.number)
            yield batch

    with LocalEngine(Tokens()) as engine:
        results = engine.encode(batches())
        next(results)
        assert len(taken) < 60
        results.close()


def test_an_error_reaches_the_caller_and_the_rest_is_dropped():
    encoder = Tokens(fails_at=3)
    with pytest.raises(ModelError, match="this one fails"), LocalEngine(encoder) as engine:
        list(engine.encode(_batches(1000)))
    assert len(encoder.sizes) < 100


def test_a_batch_is_halved_where_memory_runs_out():
    encoder = Tokens(room=3)
    (batch,) = _batches(1, 10)
    found = encode_batch(encoder, batch)
    assert found[:, 0].tolist() == list(range(10))
    assert encoder.sizes == [10, 5, 2, 3, 5, 2, 3]
    with pytest.raises(ModelError, match="too little memory for one text"):
        encode_batch(Tokens(room=0), batch)


def test_batches_suit_the_device():
    assert default_rule(Tokens(), 7) == BatchRule(module._CPU_BLOCK, None, 7)
    assert default_rule(Tokens()).max_tokens == 1024
    assert default_rule(Tokens("cuda")) == BatchRule(module._GPU_BLOCK, 32_768, None)
