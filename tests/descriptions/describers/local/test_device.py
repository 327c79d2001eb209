from __future__ import annotations

import pytest
import torch

from sightwords.descriptions.describers.hf_engine import is_out_of_memory, pick_device, pick_dtype
from sightwords.errors import ConfigError

CPU = torch.device("cpu")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="--device cuda:99"):
        pick_device("cuda:99")
    with pytest.raises(ConfigError, match="--device quantum"):
        pick_device("quantum")
    assert pick_device("cpu") == CPU


def test_under_torchrun_each_process_takes_the_gpu_of_its_rank(monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *size, device: made.append(device))  # no such device here
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert pick_device("auto") == torch.device("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:1")
    assert pick_device("cuda:0") == torch.device("cuda:0")
    assert pick_device("cpu") == CPU
    assert made == ["cuda", "cuda:1", "cuda:1", "cuda:0", "cpu"]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match=r"process 2 .* has 2 GPUs.*--nproc-per-node"):
        pick_device("auto")


def test_without_a_gpu_every_process_of_torchrun_takes_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("auto") == CPU


def test_precision_on_the_cpu_is_full_unless_asked_otherwise():
    assert pick_dtype("auto", CPU) is torch.float32
    assert pick_dtype("bf16", CPU) is torch.bfloat16
    assert pick_dtype("fp16", CPU) is torch.float16


def test_the_allocator_of_the_cpu_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert type(caught.value) is RuntimeError
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] data. DefaultCPUAllocator: not enough memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, other allocations: 1.0 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_what_other_allocators_say_is_understood(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")])
def test_other_errors_are_not_about_memory(error):
    assert not is_out_of_memory(error)
