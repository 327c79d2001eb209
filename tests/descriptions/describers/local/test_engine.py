"""The engine's batches, with a stand-in for the model that fails where it is told to."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from sightwords.descriptions.describers.base import Answer, Decoding, Request
from sightwords.descriptions.describers.hf_engine import WINDOW, LocalEngine
from sightwords.descriptions.describers.hf_generation import Reply
from sightwords.errors import ModelError


class FakeModel:
    """Answers a request with its own name, and raises what `trouble` returns for a batch of names."""

    device = torch.device("cpu")

    def __init__(self, trouble: Callable[[list[str]], Exception | None] = lambda names: None) -> None:
        self.trouble = trouble
        self.batches: list[list[str]] = []
        self.encoded: list[list[str]] = []
        self.threads: set[str] = set()

    def encode(self, batch):
        self.threads.add(threading.current_thread().name)
        self.encoded.append([request.name for request in batch])
        return self.encoded[-1]

    def reply(self, inputs, batch, decoding):
        names = [request.name for request in batch]
        assert inputs == names
        self.batches.append(names)
        if error := self.trouble(names):
            raise error
        return [Reply(f"it is {name}", 10, 3, is_cut=name == "3") for name in names]


def ask(count: int) -> list[Request]:
    picture = Image.new("RGB", (8, 8))
    return [Request(str(i), 0, 0, str(i), "", "plain", "What is this?", picture) for i in range(count)]


def never() -> bool:
    return False


def engine_of(model: FakeModel, batch_size: int = 4, ahead: bool = False) -> LocalEngine:
    return LocalEngine(lambda: model, Decoding(max_new_tokens=5), batch_size, encodes_ahead=ahead)


def run(model: FakeModel, count: int, batch_size: int = 4, ahead: bool = False) -> dict[str, Answer]:
    given = list(engine_of(model, batch_size, ahead).answers(ask(count), never))
    assert Counter(answer.request.name for answer in given) == Counter(map(str, range(count)))  # none lost, none twice
    return {answer.request.name: answer for answer in given}


def too_large(most: int, error: Exception) -> Callable[[list[str]], Exception | None]:
    return lambda names: error if len(names) > most else None


@pytest.mark.parametrize("ahead", [False, True])
def test_every_request_gets_its_own_answer(ahead):
    given = run(FakeModel(), 21, ahead=ahead)
    assert all(answer.text == f"it is {name}" and answer.status == "ok" for name, answer in given.items())
    assert {name for name, answer in given.items() if answer.cut_at} == {"3"}
    assert given["3"].cut_at == 5
    assert (given["0"].num_prompt_tokens, given["0"].num_text_tokens) == (10, 3)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_halves_the_batch_and_keeps_the_smaller_size(error, ahead):
    model = FakeModel(too_large(2, error))
    given = run(model, 40, batch_size=8, ahead=ahead)
    assert {answer.status for answer in given.values()} == {"ok"}
    assert [len(batch) for batch in model.batches[:6]] == [8, 4, 2, 2, 2, 2]
    assert sum(len(batch) > 2 for batch in model.batches) <= 3  # two at the start, one later trial of four


def test_the_user_is_told_of_every_change_of_the_batch_size():
    model = FakeModel(lambda names: MemoryError() if "0" in names and len(names) > 2 else None)
    engine = engine_of(model, batch_size=8)
    assert len(list(engine.answers(ask(100), never))) == 100
    assert engine.notices == [
        "Memory of cpu ran out at a batch of 8; it goes on with 4.",
        "Memory of cpu ran out at a batch of 4; it goes on with 2.",
        "Batches of 2 fit into memory for a while; 4 are tried again.",
        "Batches of 4 fit into memory for a while; 8 are tried again.",
    ]


def test_one_image_that_does_not_fit_even_alone_fails_alone():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 900 GiB.")
    given = run(FakeModel(lambda names: error if "5" in names else None), 12)
    assert {name for name, answer in given.items() if answer.status != "ok"} == {"5"}
    assert given["5"].status == "failed"
    assert "does not fit into the memory of cpu even alone; use a smaller --max-side" in given["5"].reason
    assert given["5"].text == ""


def test_memory_is_freed_between_tries_and_the_failed_batch_is_let_go(monkeypatch):
    import weakref

    held: list[weakref.ref] = []
    alive: list[int] = []

    class Large:
        pass

    class Model(FakeModel):
        def reply(self, inputs, batch, decoding):
            if len(batch) > 1:
                large = Large()
                held.append(weakref.ref(large))
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().reply(inputs, batch, decoding)

    def note() -> None:
        alive.append(sum(reference() is not None for reference in held))

    monkeypatch.setattr("sightwords.descriptions.describers.hf_engine.free_memory", note)
    run(Model(), 8)
    assert alive
    assert set(alive) == {0}


@pytest.mark.parametrize("ahead", [False, True])
def test_a_picture_that_the_model_cannot_take_costs_no_other_its_answer(ahead):
    error = ValueError("absolute aspect ratio must be smaller than 200")
    model = FakeModel(lambda names: error if "6" in names else None)
    given = run(model, 24, batch_size=8, ahead=ahead)
    assert [name for name, answer in given.items() if answer.status != "ok"] == ["6"]
    assert given["6"].reason == "the model failed on it: ValueError: absolute aspect ratio must be smaller than 200"
    assert [len(batch) for batch in model.batches][-2:] == [8, 8]  # it was not about memory


def test_an_error_while_encoding_is_treated_alike():
    class Model(FakeModel):
        def encode(self, batch):
            if any(request.name == "2" for request in batch):
                raise ValueError("bad picture")
            return super().encode(batch)

    assert {n for n, a in run(Model(), 9, ahead=True).items() if a.status == "failed"} == {"2"}


def test_what_sightwords_itself_raises_ends_the_run():
    model = FakeModel(lambda names: ModelError("cannot be asked"))
    with pytest.raises(ModelError, match="cannot be asked"):
        list(engine_of(model).answers(ask(4), never))


def test_stopping_is_looked_at_before_every_batch():
    for ahead in (False, True):
        model = FakeModel()
        given = []
        for answer in engine_of(model, ahead=ahead).answers(ask(40), lambda: len(given) >= 8):  # noqa: B023
            given.append(answer)
        assert len(given) == 8
        assert len(model.batches) == 2
    assert list(engine_of(FakeModel()).answers(ask(4), lambda: True)) == []


def test_the_model_is_loaded_once_and_only_where_there_is_something_to_ask():
    loads = []
    engine = LocalEngine(lambda: loads.append(1) or FakeModel(), Decoding(), 2, encodes_ahead=False)
    assert list(engine.answers([], never)) == []
    assert loads == []
    assert len(list(engine.answers(ask(3), never))) == 3
    assert len(list(engine.answers(ask(3), never))) == 3
    assert loads == [1]


def test_the_next_batch_is_encoded_while_the_model_answers():
    class Model(FakeModel):
        num_encoded_at_reply: list[int] = []  # noqa: RUF012

        def reply(self, inputs, batch, decoding):
            deadline = time.monotonic() + 5
            while len(self.encoded) <= len(self.batches) + 1 < 3 and time.monotonic() < deadline:
                time.sleep(0.001)
            self.num_encoded_at_reply.append(len(self.encoded))
            return super().reply(inputs, batch, decoding)

    model = Model()
    run(model, 12, ahead=True)
    assert model.num_encoded_at_reply == [2, 3, 3]
    assert model.threads == {"sightwords-encode_0"}
    plain = FakeModel()
    run(plain, 12)
    assert plain.threads == {threading.current_thread().name}


@pytest.mark.parametrize("ahead", [False, True])
def test_no_more_requests_are_taken_than_a_window_or_two(ahead):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield ask(1)[0]

    given = engine_of(FakeModel(), batch_size=2, ahead=ahead).answers(endless(), never)
    next(given)
    assert len(taken) <= 2 * WINDOW
    given.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sightwords-encode")]
