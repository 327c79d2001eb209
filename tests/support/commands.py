"""Commands of sightwords, each in a process of its own that need not import the libraries again."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import sentence_transformers  # noqa: F401
import timm  # noqa: F401
import transformers  # noqa: F401

from sightwords.cli import main
from support.forks import Forks


class Done(NamedTuple):
    """How a command ended.

    Attributes:
        status: its exit status.
        output: what it printed on standard output.
        errors: what all commands so far printed on standard error.
    """

    status: int
    output: str
    errors: str


class Commands(Forks):
    """Runs commands as a shell would.

    Args:
        folder: where they run, and where their cache lies.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("support.commands:command", folder / "errors")
        self._folder, self._output = folder, folder / "output"

    def enter(self, line: str) -> Done:
        """Run a line."""
        (status,), _ = self.run([line, str(self._folder), str(self._output)])
        return Done(status, self._output.read_text(), self.errors())


def command(line: str, folder: str, output: str) -> None:
    """Run the command `sightwords` of this process as the shell would start it."""
    os.chdir(folder)
    os.environ["SIGHTWORDS_CACHE"] = str(Path(folder) / "cache")
    with Path(output).open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
    sys.argv = shlex.split(line)
    assert sys.argv[0] == "sightwords"
    main()
    sys.stdout.flush()
