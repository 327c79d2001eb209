"""`class_name`: answers with the class's own name; the control that shows whether descriptions are worth more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

from sightwords.descriptions.describers.base import Answer, Describer, Request
from sightwords.descriptions.schema import DescriberInfo


class ClassNameDescriber(Describer):
    """Repeats the readable name of the class; no model is asked."""

    def info(self) -> DescriberInfo:
        """Return who is asked: the label."""
        return DescriberInfo("class_name", "the label's own name")

    def describe(self, requests: Iterable[Request], stopping: Callable[[], bool]) -> Generator[Answer]:
        """Yield the class name of each request."""
        for request in requests:
            yield Answer(request, request.class_name)
