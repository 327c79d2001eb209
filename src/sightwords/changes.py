"""What differs between options that were saved and those that are given now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return each option that differs, as `align.weight was 0.3, is 0.5; ...`, empty where none does.

    Options that were not saved are of a later version and leave what was begun as it was.

    Args:
        before: as they were saved; values may be mappings themselves.
        now: as they are given.
    """
    old, new = _flat(before), _flat(now)
    return "; ".join(f"{name} was {old[name]!r}, is {new.get(name)!r}" for name in old if new.get(name) != old[name])


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested options by dotted names; an empty mapping stays a value."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        found |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
        )
    return found
