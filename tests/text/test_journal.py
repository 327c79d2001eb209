"""The journal: what was put is there again, damage is made anew, a full disk loses nothing."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sightwords.text import journal as module
from sightwords.text.journal import Journal
from sightwords.text.plan import Batch

PLAN = {"texts": "abc", "precision": "fp32"}
VALUES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float16)


def _batch(block: int, number: int, rows: list[int]) -> Batch:
    """Texts of which the first one is in two pieces."""
    starts = np.array([0, *range(2, len(rows) + 1)])
    num_tokens = np.full(len(rows) + 1, 5)
    return Batch(block, number, np.array(rows), starts, ["x"] * (len(rows) + 1), None, num_tokens)


BATCHES = [_batch(0, 0, [3, 1]), _batch(0, 1, [0, 2]), _batch(1, 0, [5, 4])]


def _begun(out: Path) -> None:
    journal = Journal(out)
    journal.begin(PLAN, resume=False)
    for batch in BATCHES:
        journal.put(batch, VALUES[batch.rows])
    journal.close()


def test_what_was_put_is_there_in_the_next_run(tmp_path):
    _begun(tmp_path / "E")
    journal = Journal(tmp_path / "E")
    assert journal.plan == PLAN
    journal.begin(PLAN, resume=True)
    assert "Going on" in journal.note
    assert all(journal.has(batch) for batch in BATCHES)
    assert not journal.has(_batch(1, 0, [4, 5]))
    assert not journal.has(_batch(1, 1, [5]))
    assert journal.counts() == {"num_split_texts": 3, "num_pieces": 9, "num_tokens_total": 45}
    written = journal.write_vectors((6, 3), 4)
    np.testing.assert_array_equal(np.load(written, mmap_mode="r"), VALUES)
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_another_plan_begins_anew_and_says_so(tmp_path):
    _begun(tmp_path / "E")
    journal = Journal(tmp_path / "E")
    journal.begin({"texts": "other"}, resume=False)
    assert "other texts" in journal.note
    assert not any(journal.has(batch) for batch in BATCHES)
    journal.close()
    again = Journal(tmp_path / "E")
    assert (again.plan, again.done, again.note) == ({"texts": "other"}, {}, "")


@pytest.mark.parametrize("damage", ["cut", "noise", "no plan", "other tables"])
def test_damage_is_noticed_and_the_work_begins_anew(tmp_path, damage):
    _begun(tmp_path / "E")
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-5000])
    elif damage == "noise":
        file.write_bytes(content[:4096] + b"\x17" * (len(content) - 4096))
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("UPDATE plan SET json = '[1'" if damage == "no plan" else "DROP TABLE plan")
    journal = Journal(tmp_path / "E")
    assert "damaged" in journal.note
    assert (journal.plan, journal.done) == ({}, {})
    journal.begin(PLAN, resume=False)
    journal.put(BATCHES[0], VALUES[[3, 1]])
    journal.close()
    assert Journal(tmp_path / "E").has(BATCHES[0])


def test_batches_are_committed_every_few_seconds(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "E")
    journal.begin(PLAN, resume=False)
    journal.put(BATCHES[0], VALUES[[3, 1]])
    assert Journal(tmp_path / "E").done == {}
    monkeypatch.setattr(module, "_COMMIT_EVERY_S", 0.0)
    journal.put(BATCHES[1], VALUES[[0, 2]])
    assert sorted(Journal(tmp_path / "E").done) == [(0, 0), (0, 1)]


LIMITED = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from sightwords.errors import ArtifactError
    from sightwords.text import journal as module
    from sightwords.text.plan import Batch
    module._COMMIT_EVERY_S = 0.0
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    journal = module.Journal(Path(sys.argv[1]))
    try:
        journal.begin({}, resume=bool(journal.done))
        for number in range(len(journal.done), 50):
            journal.put(Batch(0, number, np.array([number]), np.array([0]), ["x"], None, np.array([1])),
                        np.full((1, 1000), number, np.float16))
            print(number)
    except ArtifactError as error:
        print(error)
"""


def _limited(out: Path, size: int) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(out), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
def test_a_disk_that_fills_up_keeps_what_was_committed(tmp_path):
    *finished, message = _limited(tmp_path / "E", 60_000)
    assert "finished vectors are kept" in message
    assert "free some space" in message
    assert 5 < len(finished) < 40
    assert len(Journal(tmp_path / "E").done) == len(finished)
    assert _limited(tmp_path / "E", 10_000_000) == [str(number) for number in range(len(finished), 50)]
