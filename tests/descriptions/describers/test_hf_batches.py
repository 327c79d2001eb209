"""The batches of the local describer, with a stand-in for the model that fails where it is to."""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.describers.hf import HFDescriber, is_out_of_memory, like_batches
from sightwords.errors import ModelError
from support.ask_server import never

Trouble = Callable[[list[str]], Exception | None]


class FakeModel:
    """Answers a request with its own name, and raises what `trouble` returns for a batch of names, while `at` work."""

    def __init__(self, trouble: Trouble = lambda names: None, at: str = "answer") -> None:
        self.trouble, self.at = trouble, at
        self.batches: list[list[str]] = []
        self.encoded: list[list[str]] = []

    def encode(self, batch):
        self.encoded.append([request.name for request in batch])
        return self._pass(self.encoded[-1], "encode")

    def answer(self, inputs, batch, decoding):
        assert inputs == [request.name for request in batch]
        self.batches.append(inputs)
        self._pass(inputs, "answer")
        return [Answer(request, f"it is {request.name}") for request in batch]

    def _pass(self, names, at):
        if at == self.at and (error := self.trouble(names)):
            raise error
        return names


def ask(number: int, side: int | None = 8, text: str = "What is this?") -> Request:
    image = Image.new("RGB", (side, side)) if side else None
    return Request(str(number), 0, 0, str(number), "", text, image)


@pytest.fixture
def make(llava, monkeypatch):
    """Make a describer that loads the stand-in."""

    def made(model: FakeModel, batch_size: int = 4, ahead: bool = False) -> HFDescriber:
        config = DescribeConfig("photos", out=Path("d.db"), batch_size=batch_size, device="cpu")
        describer = HFDescriber(str(llava), config)
        describer.encodes_ahead = ahead
        monkeypatch.setattr(describer, "load", lambda: model)
        return describer

    return made


def run(describer: HFDescriber, count: int) -> dict[str, Answer]:
    given = list(describer.describe([ask(i) for i in range(count)], never))
    assert Counter(answer.request.name for answer in given) == Counter(map(str, range(count)))  # none lost, none twice
    return {answer.request.name: answer for answer in given}


def too_large(most: int, error: Exception) -> Trouble:
    return lambda names: error if len(names) > most else None


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, other allocations: 1.0 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_halves_the_batch_and_keeps_the_smaller_size(make, error, ahead):
    model = FakeModel(too_large(2, error))
    given = run(make(model, 8, ahead), 40)
    assert all(answer.text == f"it is {name}" and answer.status == "ok" for name, answer in given.items())
    assert [len(batch) for batch in model.batches[:6]] == [8, 4, 2, 2, 2, 2]
    assert sum(len(batch) > 2 for batch in model.batches) <= 3  # two at the start, one later trial of four


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_are_not_about_memory(error):
    assert not is_out_of_memory(error)
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)  # what the CPU's allocator says


def test_larger_batches_are_tried_again_and_the_user_hears_of_it(make):
    describer = make(FakeModel(lambda names: MemoryError() if "0" in names and len(names) > 2 else None), 8)
    run(describer, 300)
    sizes = [("8", "goes on with 4"), ("4", "goes on with 2"), ("2", "4 are tried"), ("4", "8 are tried")]
    assert len(describer.notices) == len(sizes)
    for notice, (former, then) in zip(describer.notices, sizes, strict=True):
        assert former in notice
        assert then in notice


def test_trials_of_a_larger_batch_that_fail_become_rare(make):
    model = FakeModel(too_large(4, MemoryError()))
    run(make(model, 8), 10_000)
    assert 3 <= sum(len(batch) > 4 for batch in model.batches) <= 11


def test_one_image_that_does_not_fit_even_alone_fails_alone(make):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 900 GiB.")
    given = run(make(FakeModel(lambda names: error if "5" in names else None)), 12)
    assert {name for name, answer in given.items() if answer.status != "ok"} == {"5"}
    assert (given["5"].status, given["5"].text) == ("failed", "")
    assert "--max-side" in given["5"].reason


def test_memory_is_freed_between_tries_once_the_failed_batch_is_let_go(make, monkeypatch):
    held: list[weakref.ref] = []
    alive: list[int] = []

    class Large:
        pass

    class Model(FakeModel):
        def answer(self, inputs, batch, decoding):
            if len(batch) > 1:
                large = Large()
                held.append(weakref.ref(large))
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().answer(inputs, batch, decoding)

    def note() -> bool:
        alive.append(sum(reference() is not None for reference in held))
        return False

    describer = make(Model())
    monkeypatch.setattr(torch.cuda, "is_available", note)  # asked before a cache is emptied
    run(describer, 8)
    assert alive
    assert set(alive) == {0}


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("at", ["encode", "answer"])
def test_an_image_that_the_model_cannot_take_costs_no_other_its_answer(make, ahead, at):
    error = ValueError("absolute aspect ratio must be smaller than 200")
    model = FakeModel(lambda names: error if "6" in names else None, at)
    given = run(make(model, 8, ahead), 24)
    assert [name for name, answer in given.items() if answer.status != "ok"] == ["6"]
    assert "ValueError: absolute aspect ratio" in given["6"].reason
    assert [len(batch) for batch in model.batches][-2:] == [8, 8]  # it was not about memory


def test_what_sightwords_itself_raises_ends_the_run(make):
    with pytest.raises(ModelError, match="cannot be asked"):
        run(make(FakeModel(lambda names: ModelError("cannot be asked"))), 4)


@pytest.mark.parametrize("ahead", [False, True])
def test_stopping_is_looked_at_before_every_batch(make, ahead):
    model, given = FakeModel(), []
    for answer in make(model, 4, ahead).describe(map(ask, range(40)), lambda: len(given) >= 8):
        given.append(answer)
    assert len(given) == 8
    assert len(model.batches) == 2


def test_the_model_is_loaded_once_and_only_where_there_is_something_to_ask(make, monkeypatch):
    loads = []
    describer = make(FakeModel(), 2)
    monkeypatch.setattr(describer, "load", lambda: loads.append(1) or FakeModel())
    assert list(describer.describe([], never)) == loads == []
    run(describer, 3)
    run(describer, 3)
    assert loads == [1]


def test_the_next_batch_is_encoded_while_the_model_answers(make):
    num_encoded: list[int] = []

    class Model(FakeModel):
        def answer(self, inputs, batch, decoding):
            deadline = time.monotonic() + 5
            while len(self.encoded) <= len(self.batches) + 1 < 3 and time.monotonic() < deadline:
                time.sleep(0.001)
            num_encoded.append(len(self.encoded))
            return super().answer(inputs, batch, decoding)

    run(make(Model(), ahead=True), 12)
    assert num_encoded == [2, 3, 3]


@pytest.mark.parametrize("ahead", [False, True])
def test_no_more_requests_are_taken_than_are_prepared_ahead(make, ahead):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield ask(1)

    describer = make(FakeModel(), 2, ahead)
    given = describer.describe(endless(), never)
    next(given)
    assert len(taken) <= describer.num_ahead
    given.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sightwords-encode")]


def test_a_batch_holds_images_of_like_size_and_texts_of_like_length():
    def keys(batches: list[list[Request]]) -> list[list[str]]:
        return [[request.key for request in batch] for batch in batches]

    sides = [500, 30, 510, 32, 490, 31]
    texts = ["a" * 90, "a", "a", "a" * 90, "a" * 80, "a" * 2]
    requests = [ask(i, side, text) for i, (side, text) in enumerate(zip(sides, texts, strict=True))]
    assert keys(like_batches(requests, 2)) == [["1", "5"], ["3", "2"], ["4", "0"]]
    assert keys(like_batches(requests, 4)) == [["1", "5", "3", "2"], ["4", "0"]]
    # requests with and without an image never share a batch
    mixed = [ask(0), ask(1, None), ask(2), ask(3, None), ask(4, None)]
    assert keys(like_batches(mixed, 4)) == [["1", "3", "4"], ["0", "2"]]
