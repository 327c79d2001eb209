"""`class_name`: answers with the class's own name; the control that tells whether descriptions are worth more."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from sightwords.descriptions.describers.base import Answer, Request
from sightwords.descriptions.schema import DescriberInfo
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig


def make_describer(name: str, config: DescribeConfig, sees_images: bool) -> ClassNameDescriber:
    """Return the describer of a configuration.

    Raises:
        ConfigError: several descriptions of an image are wanted.
    """
    if config.samples > 1:
        raise ConfigError("A class has one name; use --samples 1.")
    return ClassNameDescriber()


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
