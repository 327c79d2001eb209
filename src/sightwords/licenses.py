"""Licenses of what a network is made from, and whether they allow a use; what is not known is said to be unknown.

The table is `licenses.yaml` beside this file. Users add to it with a file of their own in the same form, named by an
option or in the configuration folder (`~/.config/sightwords/licenses.yaml` on Linux).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from platformdirs import user_config_path

from sightwords.errors import ConfigError
from sightwords.hub import card_license

Use = Literal["commercial"]
Commercial = Literal["allowed", "forbidden", "conditions", "unknown"]

OWN_TABLE = Path(__file__).with_name("licenses.yaml")
NOTHING_TO_LICENSE = "none needed"
_KINDS = ("licenses", "names")
_SAYS = {
    "forbidden": "forbids commercial use",
    "conditions": "allows commercial use under conditions: read it",
    "unknown": "is not known to say anything about commercial use: read it",
}


@dataclass(frozen=True)
class Part:
    """Something that a network is made from.

    Attributes:
        role: what it was for: "describer", "encoder", "starting weights", "images", "network code".
        name: as a user knows it: `hf:NAME`, `timm:resnet50.a1_in1k`, a folder.
        license: where it is known from the part itself, `NOTHING_TO_LICENSE` where there is nothing to license.
    """

    role: str
    name: str
    license: str | None = None


@dataclass(frozen=True)
class Finding:
    """What is known of a part's license.

    Attributes:
        part: the part.
        license: its name, empty where it is not known.
        commercial: whether it allows commercial use.
        source: where the license is known from.
    """

    part: Part
    license: str
    commercial: Commercial
    source: str

    def warning(self) -> str:
        """Return what speaks against commercial use, empty where nothing does."""
        if self.commercial == "allowed":
            return ""
        name = f"{self.part.role} {self.part.name}"
        if not self.license:
            return f"the license of the {name} is not known. Find out, and add it to a table of your own (--licenses)."
        return f"the license of the {name}, {self.license}, {_SAYS[self.commercial]}."


@dataclass(frozen=True)
class LicenseTable:
    """Commercial use by license; license by name or pattern of a model, in order, names in lower case."""

    licenses: Mapping[str, Commercial]
    names: Mapping[str, str]

    def find(self, part: Part) -> Finding:
        """Return what is known of a part: from the table, else from the part itself, else from its card on disk."""
        if part.license == NOTHING_TO_LICENSE:
            return Finding(part, NOTHING_TO_LICENSE, "allowed", "there is nothing to license")
        bare = part.name.partition(":")[2] or part.name
        candidates = (
            (self._named(part.name) or self._named(bare), "the table of licenses"),
            (part.license, "what it carries with it"),
            (_of_card(bare), "its card on this machine"),
        )
        for license, source in candidates:
            if license:
                return Finding(part, license, self.licenses.get(license.lower(), "unknown"), source)
        return Finding(part, "", "unknown", "")

    def _named(self, name: str) -> str | None:
        lowered = name.lower()
        fitting = (license for pattern, license in self.names.items() if fnmatchcase(lowered, pattern))
        return self.names.get(lowered) or next(fitting, None)


def read_licenses(file: Path | None = None) -> LicenseTable:
    """Return the package's table with that of the user's configuration folder on top, and `file` on top of both.

    Raises:
        ConfigError: a table cannot be read, or has another form.
    """
    licenses: dict[str, Commercial] = {}
    names: dict[str, str] = {}
    for path in filter(None, (file, user_table() if user_table().is_file() else None, OWN_TABLE)):
        found_licenses, found_names = _read(path)
        licenses = found_licenses | licenses
        names |= {name: license for name, license in found_names.items() if name not in names}  # in order: patterns
    return LicenseTable(licenses, names)


def user_table() -> Path:
    """Return where the user's own table lies, whether it exists or not."""
    return user_config_path("sightwords", appauthor=False) / "licenses.yaml"


def warn_of_use(parts: Iterable[Part], use: Use | None, file: Path | None = None, show: bool = True) -> list[str]:
    """Say on stderr, before hours of work, what speaks against a use, and return it; None has no warnings.

    That is a sentence for each part whose license forbids the use, sets conditions, or is not known. For `file` see
    `read_licenses`.
    """
    if use is None:
        return []
    table = read_licenses(file)
    found = [table.find(part).warning() for part in parts]
    warnings = [f"--use {use}: {text}" for text in dict.fromkeys(found) if text]
    for text in warnings if show else []:
        print(text, file=sys.stderr, flush=True)
    return warnings


def check_use(use: object) -> None:
    """Raise ConfigError where a use is none of `Use`."""
    if use is not None and use not in get_args(Use):
        raise ConfigError(f"--use is {use!r}; allowed is: {', '.join(get_args(Use))}.")


def describer_part(identifier: str) -> Part:
    """Return a describer as a part; class names have nothing to license."""
    return Part("describer", identifier, NOTHING_TO_LICENSE if identifier == "class_name" else None)


def encoder_part(identifier: str, license: str | None) -> Part:
    """Return an encoder as a part; one that counts words has no weights."""
    return Part("encoder", identifier, NOTHING_TO_LICENSE if identifier.startswith("builtin:words") else license)


def text_parts(meta: Mapping[str, Any]) -> list[Part]:
    """Return describers and encoder of an embedding set, of what its `meta` says."""
    describers = [describer_part(str(identifier)) for identifier in meta.get("describers", [])]
    return [*describers, encoder_part(str(meta.get("encoder", "unknown")), meta.get("license"))]


def _of_card(name: str) -> str | None:
    """Return the license that the card of a model on this machine names: in its folder, or in the hub's cache."""
    if Path(name).is_dir():
        return card_license(Path(name))
    from huggingface_hub import try_to_load_from_cache

    try:
        card = try_to_load_from_cache(name, "README.md")
    except ValueError:  # not of the form of a name on the hub
        return None
    return card_license(Path(card).parent) if isinstance(card, str) else None


def _read(path: Path) -> tuple[dict[str, Commercial], dict[str, str]]:
    import yaml

    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8-sig")) or {}
    except OSError as error:
        raise ConfigError(f"Cannot read the licenses {path}: {error.strerror or error}.") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(table, dict) or not all(isinstance(table.get(kind, {}), dict) for kind in _KINDS):
        raise ConfigError(f"{path} must hold `names:` (model: license) and perhaps `licenses:` (license: allowed).")
    if unknown := [str(kind) for kind in table if kind not in _KINDS]:
        raise ConfigError(f"{path} has the unknown entry {unknown[0]!r}. Allowed are: {', '.join(_KINDS)}.")
    allowed: Sequence[str] = get_args(Commercial)
    for license, commercial in table.get("licenses", {}).items():
        if commercial not in allowed:
            raise ConfigError(f"{path}: {license} is {commercial!r}; it must be one of {', '.join(allowed)}.")
    licenses = {str(name).lower(): commercial for name, commercial in table.get("licenses", {}).items()}
    return licenses, {str(name).lower(): str(license) for name, license in table.get("names", {}).items()}
