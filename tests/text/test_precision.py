"""bf16 is taken where it was measured to be exact enough and faster, and the set says so."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from sightwords.text import precision as module
from sightwords.text.encoders.encoder import EncoderInfo
from sightwords.text.precision import Precision, Trial, choose, compare, sample

TEXTS = [f"text {i}" for i in range(300)]


class Slow:
    """Waits for each text; in bf16 less or more, with vectors that are turned away by an angle of a given cosine."""

    def __init__(self, cosine: float, speedup: float, precision: str = "fp32") -> None:
        self.info = EncoderInfo("slow", "slow", "1", 2, None, precision)
        self.cosine, self.speedup = cosine, speedup
        self.seen: list[str] = []

    def cast(self, precision: str) -> Slow:
        return Slow(self.cosine, self.speedup, precision)

    def num_tokens(self, texts):
        return [len(text) for text in texts]

    def encode(self, texts):
        self.seen += texts
        low = self.info.precision == "bf16"
        time.sleep(2e-4 * len(texts) / (self.speedup if low else 1))
        angle = np.arccos(self.cosine) if low else 0.0
        last = np.array([text == "text 299" for text in texts])  # one text alone is that far off
        return np.stack([np.cos(angle * last), np.sin(angle * last)], 1).astype(np.float32)


@pytest.mark.parametrize(
    ("cosine", "speedup", "chosen"),
    [(0.9995, 3, "bf16"), (0.998, 3, "fp32"), (0.9995, 0.3, "fp32"), (0.998, 0.3, "fp32")],
)
def test_it_is_taken_if_exact_enough_and_faster(monkeypatch, cosine, speedup, chosen):
    monkeypatch.setattr(module, "has_bf16", lambda device: True)
    encoder, precision = choose(Slow(cosine, speedup), TEXTS, "cpu")
    assert encoder.info.precision == precision.name == chosen
    assert precision.asked == "auto"
    assert precision.trial is not None
    assert precision.trial.smallest_cosine == pytest.approx(cosine, abs=3e-4)
    assert (precision.trial.speedup > 1) == (speedup > 1)
    assert precision.trial.num_texts == 64


def test_without_instructions_for_it_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(module, "has_bf16", lambda device: False)
    encoder = Slow(1, 9)
    assert choose(encoder, TEXTS, "cpu") == (encoder, Precision("fp32", "auto"))
    assert encoder.seen == []


def test_the_sample_is_spread_over_all_texts():
    assert sample(TEXTS, 4) == ["text 0", "text 99", "text 199", "text 299"]
    assert sample(TEXTS[:3], 10) == TEXTS[:3]
    assert sample(TEXTS[:1], 10) == TEXTS[:1]


def test_the_limit_itself_passes():
    assert Trial(9, 0.999, 1.01).passed
    assert not Trial(9, 0.99899, 5).passed
    assert not Trial(9, 1, 1.0).passed


def test_a_real_encoder_in_bf16_is_near_and_not_the_same(tiny_st):
    from sightwords.text.encoders import open_encoder

    encoder = open_encoder(f"st:{tiny_st}", "cpu")
    trial = compare(encoder, encoder.cast("bf16"), ["a red bird", "two dog near the water", "a stone"])
    assert 0.99 < trial.smallest_cosine < 1
    assert trial.speedup > 0
    meta = replace(Precision("fp32", "auto"), trial=trial).meta()
    assert meta["trial"] == vars(trial)
