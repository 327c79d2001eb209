"""Where to compute."""

from __future__ import annotations

import torch

from sightwords.errors import ConfigError


def choose_device(device: str, local_rank: int = 0) -> torch.device:
    """Return the device to compute on: of "auto" and "cuda", this process's own GPU where there is one.

    Raises:
        ConfigError: it does not exist here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device, local_rank) if device == "cuda" else torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {device} cannot be used here ({reason}). Allowed: auto, cpu, cuda, mps.") from None
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    return chosen
