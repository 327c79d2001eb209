from __future__ import annotations

from pathlib import Path

from sightwords.data.catalog import Problem
from sightwords.stages.describe.describers.base import Answer, Request
from sightwords.stages.describe.result import DescribeResult


def answer(name: str, status: str, reason: str = "") -> Answer:
    return Answer(Request(name, 0, name, "plain", "?", None), "", status, reason)


def test_the_summary_says_what_was_written_what_not_and_why():
    result = DescribeResult(Path("my set.db"), "server:m@http://h/v1", "plain", num_skipped=4, seconds=75)
    for name, status, reason in [
        ("a", "ok", ""), ("b", "ok", "cut at 9 tokens"), ("c", "rejected", "empty"), ("d", "failed", "refused"),
        ("e", "failed", "refused"),
    ]:  # fmt: skip
        result.count(answer(name, status, reason))
    result.problems.append(Problem("x.jpg", "damaged"))
    lines = result.summary().splitlines()
    assert lines[0] == (
        "Wrote 2 descriptions by server:m@http://h/v1 (prompt plain) to my set.db in 1 min 15 s, 4 were there already."
    )
    assert lines[1] == "  failed: 2 x refused (for example d)"
    assert lines[2] == "  rejected: 1 x empty (for example c)"
    assert "asks again for the 2 that failed" in lines[3]
    assert "--retry-failed" in lines[4]
    assert lines[5:] == ["1 image cannot be read and has no description:", "  x.jpg: damaged"]
    assert (result.num_ok, result.num_rejected, result.num_failed, result.num_problems) == (2, 1, 2, 1)


def test_long_lists_are_cut_and_counted():
    result = DescribeResult(Path("d.db"), "demo", "plain", problems=[Problem(f"{i}.jpg", "gone") for i in range(9)])
    for i in range(8):
        result.count(answer("a", "failed", f"reason {i}"))
    text = result.summary()
    assert "and 3 further reasons" in text
    assert "9 images cannot be read and have no description:" in text
    assert text.endswith("and 4 more")


def test_the_next_command_can_be_pasted():
    assert DescribeResult(Path("a b/d.db"), "demo", "plain").next_command == (
        "sightwords embed 'a b/d.db' --out 'a b/d-embeddings'"
    )
