"""Every error that sightwords raises on purpose.

SightwordsError
├── ConfigError (ValueError)          an option's value is not allowed
│   └── UnknownNameError              a name that nothing is registered under; the nearest known ones are given
├── MissingExtraError (ImportError)   a library of an optional extra is not installed
├── DataError (ValueError)            the images or their table cannot be used as given
│   └── UnreadableImageError          one image's bytes cannot be turned into pixels
├── ArtifactError (ValueError)        a description set, embedding set or run is missing, damaged or does not fit
│   ├── BusyError                     another process is writing the same thing
│   └── DamagedSetError               a description set's file cannot be read, or not as a whole
└── ModelError (RuntimeError)         a describer, encoder or network cannot be had, or does not answer
    ├── RefusedRequestError           the describer answers, but refuses this image for good (asking again is useless)
    └── UnavailableError              the describer cannot be reached or used at all (asking for more images is useless)

A message says what came, what is allowed and what to do next, and never holds a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SightwordsError(Exception):
    """Base of all errors that sightwords raises on purpose; the command line prints it without a traceback."""

    def __reduce__(self) -> tuple[object, ...]:
        """Cross from one process to another with the message, not by the arguments that it was made of."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


class ConfigError(SightwordsError, ValueError):
    """An option has a value that is not allowed."""


class UnknownNameError(ConfigError):
    """Nothing is registered under a name; the message lists the nearest known ones.

    Args:
        kind: what was looked up, in words: "describer", "model".
        name: what came.
        known: all names that would have been accepted.
        hint: what else the user can do, a whole sentence.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        listed = ", ".join(near or names[:20])
        lead = "Did you mean" if near else "Known are"
        tail = "" if near or len(names) <= 20 else f" and {len(names) - 20} more"
        super().__init__(f"Unknown {kind} {name!r}. {lead}: {listed}{tail}.{' ' + hint if hint else ''}")


class MissingExtraError(SightwordsError, ImportError):
    """A library that belongs to an optional extra is not installed.

    Args:
        library: the missing library.
        extra: the extra of sightwords that installs it.
    """

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f'{library} is not installed. Install it with: pip install "sightwords[{extra}]"')


class DataError(SightwordsError, ValueError):
    """The images, or the table that lists them, cannot be used as given."""


class UnreadableImageError(DataError):
    """The bytes of one image cannot be turned into pixels.

    Args:
        name: the image's name as a user knows it (its path, or its member name in a table or shard).
        reason: why, in a few words.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"Cannot read the image {name}: {reason}")
        self.name = name
        self.reason = reason


class ArtifactError(SightwordsError, ValueError):
    """A description set, embedding set or run is missing, damaged, or does not fit what it is used with."""


class BusyError(ArtifactError):
    """Another process is writing the same thing; running twice would only ask twice."""


class DamagedSetError(ArtifactError):
    """A description set's file is damaged, or is none; what can be read of it can be rescued."""


class ModelError(SightwordsError, RuntimeError):
    """A describer, encoder or network cannot be had, or does not answer."""


class RefusedRequestError(ModelError):
    """A describer answered that it will not take this request; asking the same again is useless."""


class UnavailableError(ModelError):
    """A describer cannot be reached or used at all; asking it for other images is useless too."""
