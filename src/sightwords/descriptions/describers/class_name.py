"""`class_name`: answers with the class's own name; the control that tells whether descriptions are worth more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any

from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.schema import DescriberInfo


class ClassNameDescriber:
    """Repeats the readable name of the class; no model is asked."""

    def __init__(self) -> None:
        self.num_ahead = 64
        self.notices: list[str] = []

    def info(self) -> DescriberInfo:
        """Return who is asked: the label."""
        return DescriberInfo("class_name", "the label's own name")

    def prepare(self, data: bytes, name: str) -> Any:
        """Return nothing: no picture is looked at."""
        return None

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield the class name of each request."""
        for request in requests:
            yield Answer(request, request.class_name)
