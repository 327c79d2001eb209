"""Ctrl-C once, twice, and the end of the grace period."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from sightwords.descriptions.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_stops(number, capfd):
    with pytest.raises(KeyboardInterrupt), Interruption(grace_s=60) as interruption:
        assert not interruption.requested()
        os.kill(os.getpid(), number)
        assert interruption.requested()
        assert "up to 60 s for the answers in flight" in capfd.readouterr().err
        os.kill(os.getpid(), number)
        time.sleep(5)


def test_the_end_of_the_grace_period_ends_a_wait():
    start_s = time.monotonic()
    never = threading.Event()
    with pytest.raises(KeyboardInterrupt), Interruption(grace_s=0.2, show=False) as interruption:
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.requested()
        never.wait(20)
    assert 0.15 < time.monotonic() - start_s < 5


def test_what_was_there_before_is_put_back_and_the_timer_ends():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption(grace_s=0.2, show=False):
        os.kill(os.getpid(), signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    time.sleep(0.4)  # a KeyboardInterrupt would come here


def test_outside_the_main_thread_it_does_nothing():
    seen: list[bool] = []

    def work() -> None:
        with Interruption(grace_s=1) as interruption:
            seen.append(interruption.requested())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
