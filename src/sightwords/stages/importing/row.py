"""Descriptions of a source as they were read, not yet joined to images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sightwords.artifacts.description_set import DescriberInfo, Prompt, Status

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Row:
    """One description of a source, not yet joined to an image.

    Attributes:
        reference: the image as the source names it: key, path or file name.
        text: the description.
        prompt: position of the prompt in `Rows.prompts`.
        describer: position of the describer in `Rows.describers`.
        sample: number among the descriptions of an image by this prompt and describer; None counts them.
        status: of the description.
        reason: why it was rejected or failed.
        num_prompt_tokens: tokens sent, where known.
        num_text_tokens: tokens answered, where known.
        seconds: time of the request, where known.
        created_at: seconds since 1970; None is now.
    """

    reference: str
    text: str
    prompt: int
    describer: int
    sample: int | None = None
    status: Status = "ok"
    reason: str = ""
    num_prompt_tokens: int | None = None
    num_text_tokens: int | None = None
    seconds: float | None = None
    created_at: float | None = None


class Rows:
    """The usable rows of a source.

    Attributes:
        rows: descriptions in the source's order.
        prompts: what was asked; rows name them by position.
        describers: who answered; rows name them by position.
        num_empty: texts left out because they are empty.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.prompts: list[Prompt] = []
        self.describers: list[DescriberInfo] = []
        self.num_empty = 0
        self._positions: dict[tuple[object, ...], int] = {}

    def add(self, row: Row) -> None:
        """Keep a row, unless it should have a text and has none."""
        if row.status == "ok" and not row.text.strip():
            self.num_empty += 1
        else:
            self.rows.append(row)

    def prompt(self, name: str, version: int = 1, template: str = "") -> int:
        """Return the position of a prompt, adding it where it is new."""
        return self._position(
            ("prompt", name, version, template), self.prompts, lambda: Prompt(name, version, template)
        )

    def describer(self, identifier: str, model: str = "", revision: str = "", parameters: str = "{}") -> int:
        """Return the position of a describer with these parameters (a JSON object), adding it where it is new."""
        names = (identifier, model, revision)

        def make() -> DescriberInfo:
            return DescriberInfo(*names, _parameters(parameters))

        return self._position(("describer", *names, parameters), self.describers, make)

    def _position(self, name: tuple[object, ...], known: list[_T], make: Callable[[], _T]) -> int:
        if name not in self._positions:
            known.append(make())
            self._positions[name] = len(known) - 1
        return self._positions[name]


def _parameters(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(f"parameters {text!r} are not a JSON object")
    return value
