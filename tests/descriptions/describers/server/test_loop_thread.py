from __future__ import annotations

import asyncio
import threading

from sightwords.descriptions.describers.server.loop_thread import LoopThread


def num_threads() -> int:
    return sum(thread.name == "sightwords-server" for thread in threading.enumerate())


def test_leaving_cancels_the_coroutine_and_waits_for_its_end():
    begun, events = threading.Event(), []

    async def main():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            events.append("cleaned up")

    with LoopThread(main):
        assert begun.wait(5)
        assert num_threads() == 1
    assert events == ["cleaned up"]
    assert num_threads() == 0


def test_a_coroutine_that_has_ended_by_itself_is_fine():
    ended = threading.Event()

    async def main():
        ended.set()

    with LoopThread(main) as thread:
        assert ended.wait(5)
        thread._thread.join(5)
    assert num_threads() == 0


def test_leaving_at_once_is_fine():
    async def main():
        await asyncio.sleep(60)

    for _ in range(20):
        with LoopThread(main):
            pass
    assert num_threads() == 0
