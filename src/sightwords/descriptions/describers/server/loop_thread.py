"""An event loop in a thread of its own, so that it also works where one already runs (a notebook)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any

JOIN_S = 5.0  # a name server that hangs must not hold up the end; nothing else takes this long


class LoopThread:
    """Runs one coroutine in a background thread; leaving the `with` block cancels it and waits for its end.

    Args:
        main: makes the coroutine, which must clean up behind itself when it is cancelled.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    def __enter__(self) -> LoopThread:
        self._thread = threading.Thread(target=self._run, name="sightwords-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        loop, task = self._started.result()
        with suppress(RuntimeError):  # the loop is closed where the coroutine has ended by itself
            loop.call_soon_threadsafe(task.cancel)
        self._thread.join(JOIN_S)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError), asyncio.Runner() as runner:
            runner.run(self._begun())

    async def _begun(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._started.set_result((asyncio.get_running_loop(), task))
        await self._main()
