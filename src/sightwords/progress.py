"""Progress of long work: a live rich display on a terminal, plain lines elsewhere (logs, CI, notebooks' pipes)."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_INTERVAL_S = 5.0


def duration(seconds: float) -> str:
    """Return seconds as people say them: `8.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Counts work of a known or unknown total and shows rate, time left and free-form notes.

    Args:
        title: what is being done, a gerund: "Describing".
        total: number of units of work, or None where unknown.
        unit: the unit's plural: "images", "texts".
        done: units that were done before (a resumed run); they do not count towards the rate.
        enabled: False shows nothing (processes other than the first).
    """

    def __init__(self, title: str, total: int | None, unit: str, done: int = 0, enabled: bool = True) -> None:
        self.title, self.total, self.unit, self.done, self.enabled = title, total, unit, done, enabled
        self._first = done
        self._start_s = time.monotonic()
        self._last_line_s = self._start_s
        self._note = ""
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Progress:
        if self.enabled and sys.stderr.isatty():
            self._open_rich()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._rich is not None:
            self._rich.stop()
        if self.enabled and kind is None:
            self._line(final=True)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more units; `note` replaces the text behind the figures."""
        self.done += count
        self._note = note or self._note
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=self.done, note=self._note, rate=f"{self.rate:.1f} {self.unit}/s")
        elif self.enabled and time.monotonic() - self._last_line_s >= PLAIN_INTERVAL_S:
            self._line()

    def message(self, text: str) -> None:
        """Print a line above the display without disturbing it."""
        if not self.enabled:
            return
        if self._rich is not None:
            self._rich.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    @property
    def rate(self) -> float:
        """Units per second since this process began."""
        return (self.done - self._first) / max(time.monotonic() - self._start_s, 1e-9)

    def _open_rich(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        note = TextColumn("{task.fields[note]}", markup=False)
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
        rate = TextColumn("{task.fields[rate]}")
        console = Console(stderr=True)
        self._rich = RichProgress(*columns, rate, TimeRemainingColumn(), note, console=console, transient=True)
        self._task = self._rich.add_task(self.title, total=self.total, completed=self.done, note="", rate="")
        self._rich.start()

    def _line(self, final: bool = False) -> None:
        self._last_line_s = time.monotonic()
        elapsed_s = self._last_line_s - self._start_s
        of = f"/{self.total}" if self.total is not None else ""
        parts = [f"{self.title}: {self.done}{of} {self.unit}", f"{self.rate:.1f}/s"]
        if final:
            parts.append(f"took {duration(elapsed_s)}")
        elif self.total is not None and self.rate > 0:
            parts.append(f"{duration((self.total - self.done) / self.rate)} left")
        if self._note:
            parts.append(self._note)
        print(", ".join(parts), file=sys.stderr, flush=True)


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Yield a list that holds the seconds spent in the block once it is left."""
    seconds: list[float] = []
    start_s = time.perf_counter()
    try:
        yield seconds
    finally:
        seconds.append(time.perf_counter() - start_s)
