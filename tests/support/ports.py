"""Ports for servers that must be told theirs before they start."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Return a free TCP port that no process gets without asking for it.

    Systems hand out ports from 32768 (Linux) or 49152 (macOS) on, and Ray's workers take 10002 to 19999: one of those
    could be gone before the server starts.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
