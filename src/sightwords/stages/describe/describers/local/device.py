"""Where a local model runs, in which number format, and what running out of memory looks like there."""

from __future__ import annotations

import gc
import os

import torch

from sightwords.errors import ConfigError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# what allocators say that do not raise torch.OutOfMemoryError: those of the CPU and MPS, cuBLAS, and CUDA's own calls
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


def pick_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU where there is one.

    Under torchrun (`LOCAL_RANK` is set) `auto` and `cuda` are the GPU of this process's local rank.

    Raises:
        ConfigError: it is no device, or not one of this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    rank = os.environ.get("LOCAL_RANK", "")
    if device == "cuda" and rank.isdecimal():
        device = f"cuda:{rank}"
        if int(rank) >= torch.cuda.device_count():
            raise ConfigError(
                f"This is process {rank} (counted from 0) of this machine, which has {torch.cuda.device_count()} GPUs. "
                "Start torchrun with --nproc-per-node no larger than that, or use --device cpu."
            )
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {device} cannot be used: {reason}. Use auto, cpu, cuda, cuda:N or mps.") from None


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the number format; `auto` is bf16 on GPUs that compute in it, fp16 on older ones, fp32 elsewhere."""
    if precision != "auto":
        return _DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def free_memory() -> None:
    """Hand back what nobody uses: tensors in reference cycles, and the allocators' caches."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
