"""Which arithmetic is exact enough and faster: found out on a sample of the texts, not believed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sightwords.hub import choose_device
from sightwords.text.encode import encode_texts
from sightwords.text.encoders import Encoder, has_bf16

SMALLEST_COSINE = 0.999
_CPU_SAMPLE, _GPU_SAMPLE = 64, 2048
_WARM_UP = 8  # texts
_ROUNDS = 2


@dataclass(frozen=True)
class Trial:
    """bf16 beside fp32 on texts of a sample.

    Attributes:
        num_texts: size of the sample.
        smallest_cosine: between the vectors of a text in bf16 and fp32, over the sample.
        speedup: time in fp32 over time in bf16.
    """

    num_texts: int
    smallest_cosine: float
    speedup: float

    @property
    def passed(self) -> bool:
        """Whether bf16 is exact enough and faster."""
        return self.smallest_cosine >= SMALLEST_COSINE and self.speedup > 1


@dataclass(frozen=True)
class Precision:
    """The arithmetic of the vectors and how it came about.

    Attributes:
        name: `fp32`, `bf16` or `fp16`.
        asked: what the user asked for, `auto` included.
        trial: what was measured; None where nothing was.
    """

    name: str
    asked: str
    trial: Trial | None = None

    def meta(self) -> dict[str, Any]:
        """Return what is stored with the vectors."""
        return {
            "precision": self.name,
            "precision_asked": self.asked,
            "trial": asdict(self.trial) if self.trial else None,
        }


def choose(encoder: Encoder, texts: Sequence[str], device: str) -> tuple[Encoder, Precision]:
    """Return the encoder in bf16 where that is exact enough and faster on some of the texts, else as it is.

    Args:
        encoder: in fp32.
        texts: the distinct texts.
        device: as the user named it.
    """
    if not has_bf16(choose_device(device)):
        return encoder, Precision("fp32", "auto")
    other = encoder.cast("bf16")
    if other is encoder:
        return encoder, Precision(encoder.info.precision, "auto")
    trial = compare(encoder, other, sample(texts, _CPU_SAMPLE if encoder.info.device == "cpu" else _GPU_SAMPLE))
    chosen = other if trial.passed else encoder
    return chosen, Precision(chosen.info.precision, "auto", trial)


def compare(encoder: Encoder, other: Encoder, texts: Sequence[str]) -> Trial:
    """Encode texts with both and return how near and how fast the other one is; both are warmed up first."""
    seconds: dict[str, list[float]] = {"one": [], "other": []}
    vectors: dict[str, np.ndarray] = {}
    for used in (encoder, other):
        encode_texts(used, sample(texts, _WARM_UP), show=False)
    for _ in range(_ROUNDS):
        for name, used in (("one", encoder), ("other", other)):
            start_s = time.perf_counter()
            vectors[name] = encode_texts(used, texts, show=False).vectors.astype(np.float64)
            seconds[name].append(time.perf_counter() - start_s)
    cosines = (vectors["one"] * vectors["other"]).sum(1)
    cosines /= np.linalg.norm(vectors["one"], axis=1) * np.linalg.norm(vectors["other"], axis=1)
    speedup = min(seconds["one"]) / min(seconds["other"])
    return Trial(len(texts), round(float(cosines.min()), 6), round(speedup, 2))


def sample(texts: Sequence[str], size: int) -> list[str]:
    """Return texts evenly spread over all, at most `size`."""
    return [texts[i] for i in np.linspace(0, len(texts) - 1, min(size, len(texts))).astype(int)]
