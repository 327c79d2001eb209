"""What a model's tokens, or its rented machine, cost: a small table that the user writes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from sightwords.errors import ConfigError, UnknownNameError

_FIELDS = ("input", "output", "per_hour")
_EXAMPLE = "for example: gpt-4.1-mini: {input: 0.40, output: 1.60}"


@dataclass(frozen=True)
class Price:
    """What one model costs.

    Attributes:
        input: price of a million tokens sent.
        output: price of a million tokens that come back.
        per_hour: price of an hour of the machine that the model runs on.
        currency: what the prices are in.
    """

    input: float = 0.0
    output: float = 0.0
    per_hour: float = 0.0
    currency: str = "USD"

    @property
    def needs_tokens(self) -> bool:
        """Whether the cost depends on the number of tokens."""
        return self.input > 0 or self.output > 0

    def cost(self, num_prompt_tokens: float, num_text_tokens: float, seconds: float = 0.0) -> float:
        """Return what this costs.

        Args:
            num_prompt_tokens: tokens sent.
            num_text_tokens: tokens that came back.
            seconds: time of the rented machine on the wall clock; requests at the same time count once.
        """
        tokens = num_prompt_tokens * self.input + num_text_tokens * self.output
        return tokens / 1e6 + seconds * self.per_hour / 3600

    def money(self, amount: float) -> str:
        """Return an amount in words, small ones with two digits that count: `1,234.50 USD`, `0.0042 USD`."""
        decimals = 2 if amount >= 0.1 or amount <= 0 else min(8, 1 - math.floor(math.log10(amount)))
        return f"{amount:,.{decimals}f} {self.currency}"


@dataclass(frozen=True)
class Prices:
    """A table of prices.

    Attributes:
        path: the file that it was read from.
        prices: price by model name or pattern, in the order of the file.
        default: price of every other model; None where the table has none.
    """

    path: Path
    prices: Mapping[str, Price] = field(default_factory=dict)
    default: Price | None = None

    def of(self, model: str) -> Price:
        """Return the price of a model: its own, else that of the first pattern that fits, else the default.

        Upper and lower case are the same.

        Raises:
            UnknownNameError: the table has no price for it.
        """
        name = model.lower()
        by_name = {known.lower(): price for known, price in self.prices.items()}
        if name in by_name:
            return by_name[name]
        fitting = (price for pattern, price in by_name.items() if fnmatchcase(name, pattern))
        found = next(fitting, self.default)
        if found is None:
            hint = f'Add it to {self.path}, or a pattern such as "{model[:4]}*", or default for all other models.'
            raise UnknownNameError("model in the table of prices:", model, self.prices, hint)
        return found


def read_prices(path: Path) -> Prices:
    """Read a table of prices.

    It is a YAML file, `MODEL: {input: PRICE, output: PRICE}` for each model, per million tokens, and `per_hour` for a
    rented machine, alone or beside them. Models may be patterns ("qwen*"); `default` is for all others, and
    `currency` names what the prices are in, USD where it is missing.

    Raises:
        ConfigError: the file is missing or does not hold such a table.
    """
    table = _load(path)
    currency = table.pop("currency", "USD")
    if not isinstance(currency, str) or not currency.strip():
        raise ConfigError(f"{path}: currency is {currency!r}; it must be a text such as USD or EUR.")
    prices = {name: _price(path, name, entry, currency.strip()) for name, entry in table.items()}
    if not prices:
        raise ConfigError(f"{path} holds no prices. Write a line for each model, {_EXAMPLE}")
    default = prices.pop("default", None)
    return Prices(path, prices, default)


def _load(path: Path) -> dict[str, Any]:
    try:
        table = yaml.load(path.read_text(encoding="utf-8-sig"), _TableLoader)
    except OSError as error:
        raise ConfigError(f"Cannot read the prices {path}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"The prices {path} are not UTF-8 text.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML as it should be: {_trouble(error)}") from None
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ConfigError(
            f"{path} holds a {type(table).__name__}, not a table. Write a line for each model, {_EXAMPLE}"
        )
    odd = [name for name in table if not isinstance(name, str)]
    if odd:
        raise ConfigError(f"{path}: the model name {odd[0]!r} is not read as text; put it in quotes.")
    return table


def _price(path: Path, name: str, entry: Any, currency: str) -> Price:
    if not isinstance(entry, dict):
        raise ConfigError(f"{path}: {name} is {entry!r}; write its prices in braces, {_EXAMPLE}")
    unknown = [str(key) for key in entry if key not in _FIELDS]
    if unknown:
        raise ConfigError(f"{path}: {name} has the unknown field {unknown[0]!r}. Allowed are: {', '.join(_FIELDS)}.")
    if ("input" in entry) != ("output" in entry) or not entry:
        raise ConfigError(
            f"{path}: {name} has {' and '.join(entry) or 'no price'}. Give input and output together (0 where it is "
            "free), or per_hour, or all three."
        )
    return Price(**{key: _number(path, name, key, value) for key, value in entry.items()}, currency=currency)


def _number(path: Path, name: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{path}: {key} of {name} is {value!r}; it must be a plain number such as 0.15.")
    if not math.isfinite(value) or value < 0:
        raise ConfigError(f"{path}: {key} of {name} is {value}; it must be a number of 0 or more.")
    return float(value)


def _trouble(error: yaml.YAMLError) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    mark = error.problem_mark
    told = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}."
    if "alias" in f"{error.context} {error.problem}":
        told += ' Put a name that begins with * in quotes: "*mini".'
    return told


class _TableLoader(yaml.SafeLoader):
    """The safe loader, which would take the last of two equal names without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)
