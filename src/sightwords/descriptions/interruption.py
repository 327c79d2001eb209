"""Ctrl-C in two steps: the first asks the run to finish what is in flight, the second stops it at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # schedulers of clusters send the second


class Interruption:
    """In its `with` block a first Ctrl-C or SIGTERM only sets `requested`; a second one raises KeyboardInterrupt.

    The end of the grace period counts as the second one. Outside the main thread, where no signal arrives, it does
    nothing.

    Args:
        grace_s: time that answers in flight get, in seconds.
        show: whether to tell on stderr what happens.
    """

    def __init__(self, grace_s: float, show: bool = True) -> None:
        self.grace_s, self.show = grace_s, show
        self._requested = False
        self._before: dict[signal.Signals, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._arrived) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Return whether the run is to stop."""
        return self._requested

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
        self._timer = threading.Timer(self.grace_s, self._grace_is_over, (threading.get_ident(),))
        self._timer.daemon = True
        self._timer.start()
        if self.show:
            text = f"\nStopping: up to {self.grace_s:g} s for the answers in flight. Ctrl-C again stops at once.\n"
            os.write(2, text.encode())  # print may have been interrupted itself, and must not be entered twice

    def _grace_is_over(self, main_thread: int) -> None:
        signal.pthread_kill(main_thread, signal.SIGINT)  # a real signal, which also ends a wait of the main thread
