from __future__ import annotations

from pathlib import Path

from sightwords.descriptions.describe import DescribeResult, Reason
from sightwords.images.dataset import Problem


def test_the_summary_says_what_was_written_what_not_and_why():
    result = DescribeResult(Path("my set.db"), "server:m", "plain", num_skipped=4, seconds=75)
    result.count({"ok": 2, "rejected": 1, "failed": 2})
    result.reasons = [
        Reason("failed", "timeout", 2, "d.png", ""), Reason("rejected", "refusal", 11, "c.png", "I'm sorry,\nbut " * 9),
    ]  # fmt: skip
    result.problems.append(Problem("x.jpg", "damaged"))
    lines = result.summary().splitlines()
    assert lines[0] == (
        "Wrote 2 descriptions by server:m (prompt plain) to my set.db in 1 min 15 s, 4 were there already."
    )
    assert lines[1:4] == [
        "  Count  Status    Reason   For example",
        "      2  failed    timeout  d.png",
        "     11  rejected  refusal  c.png: I'm sorry, but I'm sorry, but I'm sorry, but I'm sorry, b...",
    ]
    assert "asks again for the 2 that failed" in lines[4]
    assert "--retry-failed the 1 without" in lines[5]
    assert lines[6:] == ["1 image cannot be read and has no description:", "  x.jpg: damaged"]
    assert (result.num_ok, result.num_rejected, result.num_failed, result.num_problems) == (2, 1, 2, 1)


def test_long_lists_are_cut_and_counted():
    result = DescribeResult(Path("d.db"), "demo", "plain", problems=[Problem(f"{i}.jpg", "gone") for i in range(9)])
    result.reasons = [Reason("failed", f"reason {i}", 1, "a.png", "") for i in range(15)]
    text = result.summary()
    assert "and 3 further reasons" in text
    assert "9 images cannot be read and have no description:" in text
    assert text.endswith("and 4 more")


def test_a_stop_and_a_pilot_are_told():
    result = DescribeResult(Path("d.db"), "demo", "plain", stopped="--max-requests 9 is reached: 9 asked.")
    result.forecast, result.page = ["Pilot: 9 images.", "  Time  3 s"], Path("d-pilot.html")
    assert result.summary().splitlines()[1:] == [
        "Stopped: --max-requests 9 is reached: 9 asked. Everything that arrived is stored.",
        "Pilot: 9 images.",
        "  Time  3 s",
        "Look at the sample: d-pilot.html",
    ]


def test_the_next_command_can_be_pasted():
    assert DescribeResult(Path("a b/d.db"), "demo", "plain").next_command == (
        "sightwords embed 'a b/d.db' --out 'a b/d-embeddings'"
    )
