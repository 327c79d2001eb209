"""What a visitor looks at, as the address of the page says it: a link, or a reload, shows the same again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args
from urllib.parse import urlencode

from sightwords.artifacts.description import Status
from sightwords.artifacts.description_query import Filter, Order, Place


@dataclass(frozen=True)
class View:
    """Filter, order and place.

    Attributes:
        wanted: which descriptions.
        meaning: a sentence; images are in the order of their texts' likeness to it then.
        order: of images, where no sentence is given.
        after: where the page before ends.
        before: where the page behind begins, to go back.
        skip: images before the page, where a sentence is given.
    """

    wanted: Filter = field(default_factory=Filter)
    meaning: str = ""
    order: Order = "newest"
    after: Place | None = None
    before: Place | None = None
    skip: int = 0

    def at_front(self, **changes: Any) -> View:
        """Return the first page of another view."""
        return replace(self, **{"after": None, "before": None, "skip": 0, **changes})

    def query(self) -> str:
        """Return the view as the query of an address, empty for the default."""
        wanted = self.wanted
        fields = {
            "q": wanted.words,
            "like": self.meaning,
            "class": wanted.class_name,
            "status": wanted.status,
            "reason": wanted.reason,
            "agreement": wanted.agreement_below,
            "same": wanted.same_as,
            "order": None if self.order == "newest" else self.order,
            "after": _place_text(self.after),
            "before": _place_text(self.before),
            "skip": self.skip or None,
        }
        return urlencode({name: value for name, value in fields.items() if value not in (None, "")})


def read_view(query: Mapping[str, str]) -> View:
    """Return the view of an address; what makes no sense there is left out."""
    status, order = query.get("status"), query.get("order")
    wanted = Filter(
        query.get("q", ""),
        query.get("class") or None,
        status if status in get_args(Status) else None,  # type: ignore[arg-type]
        query.get("reason") or None,
        _number(query.get("agreement")),
        _whole(query.get("same")),
    )
    return View(
        wanted,
        query.get("like", ""),
        order if order in get_args(Order) else "newest",  # type: ignore[arg-type]
        _place(query.get("after")),
        _place(query.get("before")),
        max(0, _whole(query.get("skip")) or 0),
    )


def _place_text(place: Place | None) -> str | None:
    return f"{place[0]!r},{place[1]}" if place else None


def _place(text: str | None) -> Place | None:
    first, _, second = (text or "").partition(",")
    agreement, number = _number(first), _whole(second)
    return None if agreement is None or number is None else (agreement, number)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _whole(text: str | None) -> int | None:
    try:
        value = int(text or "")
    except ValueError:
        return None
    return value if -(2**63) <= value < 2**63 - 65_536 else None
