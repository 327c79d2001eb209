"""Answers as text, CSV and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightwords.files import atomic_path
from sightwords.trained import Guess


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
