"""Asking a server describer about drawn images, as several tests do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from sightwords.descriptions.config import DescribeConfig
from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.describers.server import ServerDescriber
from support.images import draw


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return an image file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def describer_of(*urls: str, concurrency: int = 4, timeout_s: float = 5.0, patience_s: float = 5.0) -> ServerDescriber:
    """Return a describer of the model `tiny`."""
    options = {"concurrency": concurrency, "timeout_s": timeout_s, "patience_s": patience_s}
    config = DescribeConfig("photos", out=Path("d.db"), max_new_tokens=9, **options)  # type: ignore[arg-type]
    return ServerDescriber(f"tiny@{','.join(urls)}", config)


def questions(describer: ServerDescriber, num: int, sample: int = 0, first: int = 0) -> Iterator[Request]:
    """Yield requests about `num` different images; image i has the key str(i)."""
    for i in range(first, first + num):
        image = describer.prepare(encoded(draw("disc", i)), f"{i}.png")
        yield Request(str(i), sample, 0, f"{i}.png", "disc", "Describe this.", image)


def never() -> bool:
    """Be the `stopping` of a run that is not interrupted."""
    return False


def ask(*urls: str, num: int = 1, sample: int = 0, first: int = 0, **options: Any) -> dict[int, Answer]:
    """Ask about `num` different images; return the answers by image number."""
    describer = describer_of(*urls, **options)
    return {int(a.request.key): a for a in describer.describe(questions(describer, num, sample, first), never)}
