"""`sightwords predict`: what images show, by a run's network or an exported one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sightwords.errors import DataError
from sightwords.evaluation.config import PredictConfig
from sightwords.evaluation.exported import Model, open_model
from sightwords.files import atomic_path
from sightwords.images.loader import InputBatch, input_batches
from sightwords.images.readers import find_images
from sightwords.images.transforms import EvalTransform, InputSize
from sightwords.models import normalize_images
from sightwords.models.inference import Guess, guesses
from sightwords.progress import Progress, duration, stopwatch


@dataclass(frozen=True)
class Prediction:
    """What a network says about an image.

    Attributes:
        image: its name.
        guesses: the most probable classes, most probable first; none where it could not be read.
        reason: why it could not be read, else empty.
    """

    image: str
    guesses: list[Guess]
    reason: str = ""

    def text(self) -> str:
        """Return a line for people."""
        if self.reason:
            return f"{self.image}: cannot be read, {self.reason}"
        return f"{self.image}: " + ", ".join(f"{guess.class_name} {guess.probability:.1%}" for guess in self.guesses)


Write = Callable[[Prediction], None]


@contextmanager
def writer(out: Path | None, num_guesses: int) -> Iterator[Write]:
    """Yield a function that writes one prediction; the file appears when all are written.

    Args:
        out: a .csv or .jsonl file; None writes nothing.
        num_guesses: classes named for each image.
    """
    if out is None:
        yield lambda prediction: None
        return
    with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        if out.suffix == ".jsonl":
            yield lambda prediction: _write_json(file.write, prediction)
        else:
            rows = csv.writer(file)
            rows.writerow(["image", "error", *_columns(num_guesses)])
            yield lambda prediction: rows.writerow(_row(prediction, num_guesses))


def _write_json(write: Callable[[str], object], prediction: Prediction) -> None:
    guesses = [
        {"class": g.class_id, "name": g.class_name, "score": round(g.probability, 6)} for g in prediction.guesses
    ]
    answer = {"error": prediction.reason} if prediction.reason else {"predictions": guesses}
    write(json.dumps({"image": prediction.image, **answer}, ensure_ascii=False) + "\n")


def _columns(num_guesses: int) -> list[str]:
    return [f"{name}{place}" for place in range(1, num_guesses + 1) for name in ("class", "name", "score")]


def _row(prediction: Prediction, num_guesses: int) -> list[str]:
    cells = [cell for g in prediction.guesses for cell in (g.class_id, g.class_name, f"{g.probability:.6f}")]
    return [prediction.image, prediction.reason, *(cells or 3 * num_guesses * [""])]


NUM_SHOWN = 40
NUM_NAMED = 10


@dataclass(frozen=True)
class PredictResult:
    """What was predicted.

    Attributes:
        predictions: of the first images, as many as are shown.
        num_images: images that were read.
        unreadable: names and reasons of the others; the first of them.
        num_unreadable: how many there are.
        is_multi_label: whether each class has a probability of its own.
        out: file of all predictions.
        seconds: duration.
    """

    predictions: list[Prediction]
    num_images: int
    unreadable: list[str]
    num_unreadable: int
    is_multi_label: bool
    out: Path | None
    seconds: float

    def summary(self) -> str:
        """Return the predictions, and what could not be read."""
        lines = [prediction.text() for prediction in self.predictions]
        if self.num_images > len(self.predictions):
            where = f"in {self.out}" if self.out else "not shown; write all with --out FILE.csv"
            lines.append(f"... and {self.num_images - len(self.predictions)} more images, {where}")
        if self.is_multi_label:
            lines.append("Several classes may be true of an image: each probability stands alone.")
        if self.num_unreadable:
            lines.append(f"{self.num_unreadable} images could not be read and were left out, such as")
            lines += [f"  {text}" for text in self.unreadable]
        wrote = f"; wrote {self.out}" if self.out else ""
        return "\n".join([*lines, f"Predicted {self.num_images} images in {duration(self.seconds)}{wrote}"])

    @property
    def next_command(self) -> str:
        """Nothing follows."""
        return ""


def predict(config: PredictConfig) -> PredictResult:
    """Predict the classes of images.

    Raises:
        ArtifactError: the model is missing or damaged.
        DataError: none of the images can be read, or a folder holds none.
        MissingExtraError: a library that the format needs is not installed.
    """
    shown: list[Prediction] = []
    unreadable: list[str] = []
    num_read = num_unreadable = 0
    with stopwatch() as seconds:
        model = open_model(config.model, config.device)
        top = min(config.top, model.info.num_classes)
        with writer(config.out, top) as write:
            for prediction in _predictions(model, config, top):
                write(prediction)
                if prediction.reason:
                    num_unreadable += 1
                    unreadable += [f"{prediction.image}: {prediction.reason}"] if len(unreadable) < NUM_NAMED else []
                    continue
                num_read += 1
                shown += [prediction] if len(shown) < NUM_SHOWN else []
            if not num_read:
                raise DataError(f"None of the {num_unreadable} images can be read; the first: {unreadable[0]}")
    return PredictResult(shown, num_read, unreadable, num_unreadable, model.info.multi_label, config.out, seconds[0])


def _predictions(model: Model, config: PredictConfig, top: int) -> Iterator[Prediction]:
    """Yield what the network says, image by image in their order."""
    members = find_images(config.images)
    info = model.info
    transform = EvalTransform(InputSize(info.image_size, info.interpolation, info.crop_pct))
    with Progress("Predicting", len(members), "images") as progress:
        for batch in input_batches(members, transform, config.batch_size, config.workers):
            yield from _batch(model, batch, top)
            progress.advance(len(batch.names))


def _batch(model: Model, batch: InputBatch, top: int) -> Iterator[Prediction]:
    found = iter(_guesses(model, batch.images, top))
    for name, reason in zip(batch.names, batch.reasons, strict=True):
        yield Prediction(name, [] if reason else next(found), reason)


@torch.inference_mode()
def _guesses(model: Model, images_BCHW: Tensor, top: int) -> list[list[Guess]]:
    """Return the most probable classes of each picture."""
    if not len(images_BCHW):
        return []
    info = model.info
    logits = model.answer(normalize_images(images_BCHW.to(model.device), info.mean, info.std))
    return guesses(info, logits, top)
