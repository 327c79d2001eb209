from __future__ import annotations

import io
import json

import pytest
from PIL.PngImagePlugin import PngInfo

from sightwords.descriptions.describers.base import Request
from sightwords.descriptions.describers.demo import TEXT_CHUNK, DemoDescriber
from sightwords.errors import UnreadableImageError
from support.images import draw


def drawn(record: str | None) -> bytes:
    chunks = PngInfo()
    if record is not None:
        chunks.add_itxt(TEXT_CHUNK, record)
    buffer = io.BytesIO()
    draw("disc", 0).save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def ask(data: bytes, prompt: str = "plain"):
    describer = DemoDescriber()
    request = Request("k", 0, 0, "a.png", "wren", prompt, "?", describer.prepare(data, "a.png"))
    return next(describer.describe([request], lambda: False))


def test_each_prompt_gets_its_own_sentence():
    data = drawn(json.dumps({"plain": "A bird with a grün tail.", "short": "A bird."}))
    assert (ask(data).text, ask(data).status) == ("A bird with a grün tail.", "ok")
    assert ask(data, "short").text == "A bird."


@pytest.mark.parametrize("record", [None, "not json", "[1]"])
def test_other_pictures_are_refused_with_a_reason(record):
    answer = ask(drawn(record))
    assert (answer.status, answer.text) == ("failed", "")
    assert "not drawn by `sightwords demo`" in answer.reason


def test_a_prompt_that_the_drawing_does_not_answer_is_named():
    answer = ask(drawn(json.dumps({"plain": "A bird."})), "attributes")
    assert answer.status == "failed"
    assert "attributes" in answer.reason
    assert "plain" in answer.reason


def test_a_jpeg_carries_no_record_and_a_damaged_file_is_unreadable():
    buffer = io.BytesIO()
    draw("disc", 0).save(buffer, "JPEG")
    assert ask(buffer.getvalue()).status == "failed"
    with pytest.raises(UnreadableImageError):
        DemoDescriber().prepare(drawn("{}")[:80], "a.png")


def test_it_says_who_describes():
    assert DemoDescriber().info().model == "the drawing's own record"
