"""Calling a library's network factory, and turning its refusals into errors that name the option."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from sightwords.errors import ConfigError


def call_factory(
    factory: Callable[..., nn.Module],
    identifier: str,
    kwargs: Mapping[str, Any],
    size_kwargs: Sequence[Mapping[str, Any]],
) -> tuple[nn.Module, dict[str, Any]]:
    """Builds a network, with the first of several ways to state the image size that its factory takes.

    Args:
        factory: builds the network from keyword arguments.
        identifier: the network's name, for messages.
        kwargs: keyword arguments in any case.
        size_kwargs: ways to state the image size, tried in this order; the last should be empty, for networks that
            take any size. Factories refuse unknown arguments before they draw random numbers, so trying leaves the
            initial weights as they would be.

    Returns:
        The network, and all keyword arguments that it was built with.

    Raises:
        ConfigError: if the factory refuses an argument; names it.
    """
    for size in size_kwargs:
        try:
            return factory(**kwargs, **size), {**kwargs, **size}
        except TypeError as error:
            refused = _refused_argument(error)
            if refused is None or refused not in size:
                raise _refusal(identifier, kwargs, error) from error
        except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
            raise _refusal(identifier, {**kwargs, **size}, error) from error
    raise AssertionError("no way to state the image size was given")


def _refused_argument(error: TypeError) -> str | None:
    # Python's own words, and those of some factories that check by themselves
    found = re.search(r"argument(?:\(s\): \[)? ?'(\w+)'", str(error))
    return found.group(1) if found else None


def _refusal(identifier: str, kwargs: Mapping[str, Any], error: Exception) -> ConfigError:
    refused = _refused_argument(error) if isinstance(error, TypeError) else None
    if refused is not None:
        return ConfigError(f"{identifier} does not take the option {refused!r} ({error}). Leave it out.")
    given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
    return ConfigError(f"{identifier} cannot be built with {given}: {type(error).__name__}: {error}")
