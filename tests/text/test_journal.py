"""The work folder: what is in it is taken over if it is of the same plan and whole, and nothing else is."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sightwords.errors import ArtifactError
from sightwords.text import journal as module
from sightwords.text.journal import WorkFolder, told
from sightwords.text.plan import BatchRule, Counts

RULE = BatchRule(4, None, 2)
PLAN = {"texts": "abc", "encoder": "x", "precision": "fp32", "trial": None}
ROWS = {(0, 0): [3, 1], (0, 1): [0, 2], (1, 0): [4, 5]}
VALUES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float16)
COUNTS = Counts(1, 5, 30, 0)


def _opened(
    out: Path, plan: dict[str, object] = PLAN, shape: tuple[int, int] = (6, 3), rule: BatchRule = RULE
) -> WorkFolder:
    work = WorkFolder(out)
    work.open(plan, shape, rule)
    return work


def _put(work: WorkFolder, block: int, batch: int) -> None:
    work.put(block, batch, np.array(ROWS[block, batch]), VALUES[ROWS[block, batch]])


def _begun(out: Path) -> WorkFolder:
    """One whole block and a batch of the next."""
    work = _opened(out)
    for block, batch in ROWS:
        _put(work, block, batch)
        if (block, batch) == (0, 1):
            work.finish(0, COUNTS)
    work.close()
    return work


def _has(work: WorkFolder, block: int, batch: int) -> bool:
    return work.has(block, batch, np.array(ROWS[block, batch]))


def test_what_was_put_is_there_in_the_next_run(tmp_path):
    first = _begun(tmp_path / "E")
    assert first.folder == tmp_path / ".E.embedding"
    assert first.note == ""
    again = _opened(tmp_path / "E")
    assert (again.block(0), again.block(1)) == (COUNTS, None)
    assert _has(again, 1, 0)
    assert not again.has(1, 1, np.array([4]))
    np.testing.assert_array_equal(again.vectors, VALUES)
    np.testing.assert_array_equal(np.load(again.vectors_file), VALUES)
    assert "Going on with" in again.note
    again.close()
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_says_nothing(tmp_path):
    _opened(tmp_path / "E").close()
    assert _opened(tmp_path / "E").note == ""


@pytest.mark.parametrize(
    ("plan", "shape", "rule"),
    [
        ({**PLAN, "texts": "other"}, (6, 3), RULE),
        ({**PLAN, "precision": "bf16"}, (6, 3), RULE),
        (PLAN, (7, 3), RULE),
        (PLAN, (6, 3), BatchRule(4, None, 3)),
    ],
)
def test_other_plans_begin_anew_and_say_so(tmp_path, plan, shape, rule):
    _begun(tmp_path / "E")
    other = _opened(tmp_path / "E", plan, shape, rule)
    assert "of other texts or another encoder; starting afresh" in other.note
    assert other.block(0) is None
    assert not _has(other, 1, 0)
    assert not other.vectors.any()
    assert other.vectors.shape == shape
    assert other.plan()["texts"] == plan["texts"]
    other.close()
    assert "Going on" not in _opened(tmp_path / "E", plan, shape, rule).note


def test_how_the_precision_was_chosen_does_not_matter(tmp_path):
    _begun(tmp_path / "E")
    again = _opened(tmp_path / "E", {**PLAN, "trial": {"num_texts": 3}, "precision_asked": "auto"})
    assert again.block(0) == COUNTS


def _damage(folder: Path, kind: str) -> None:
    vectors, journal, plan = folder / "vectors.npy", folder / "journal", folder / "plan.json"
    content = bytearray(vectors.read_bytes())
    lines = journal.read_bytes().splitlines(keepends=True)
    match kind:
        case "vectors cut":
            vectors.write_bytes(content[:-5])
        case "vectors changed":
            content[-6 * 6 + 2] ^= 1  # of the first block
            vectors.write_bytes(content)
        case "vectors gone":
            vectors.unlink()
        case "journal changed":
            journal.write_bytes(b"".join([lines[0], b"{broken\n", *lines[1:]]))
        case "journal of nothing":
            journal.write_bytes(b'{"what": 1}\n')
        case "journal gone":
            journal.unlink()
        case "plan cut":
            plan.write_bytes(plan.read_bytes()[:9])
        case "plan gone":
            plan.unlink()


@pytest.mark.parametrize(
    "kind",
    [
        "vectors cut",
        "vectors changed",
        "vectors gone",
        "journal changed",
        "journal of nothing",
        "journal gone",
        "plan cut",
        "plan gone",
    ],
)
def test_damage_is_noticed_and_the_work_begins_anew(tmp_path, kind):
    folder = _begun(tmp_path / "E").folder
    _damage(folder, kind)
    again = _opened(tmp_path / "E")
    assert "damaged" in again.note
    assert again.note.endswith("starting afresh")
    assert again.block(0) is None
    assert not _has(again, 1, 0)
    assert not again.vectors.any()
    for block, batch in ROWS:
        _put(again, block, batch)
    again.close()
    assert _has(_opened(tmp_path / "E"), 1, 0)


def test_a_changed_vector_of_an_unfinished_block_is_made_again(tmp_path):
    vectors = _begun(tmp_path / "E").vectors_file
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    again = _opened(tmp_path / "E")
    assert again.block(0) == COUNTS
    assert not _has(again, 1, 0)


def test_a_line_that_was_cut_by_a_kill_is_dropped_and_the_next_one_is_whole(tmp_path):
    folder = _begun(tmp_path / "E").folder
    journal = folder / "journal"
    journal.write_bytes(journal.read_bytes()[:-9])
    again = _opened(tmp_path / "E")
    assert again.block(0) == COUNTS
    assert not _has(again, 1, 0)
    _put(again, 1, 0)
    again.close()
    assert _has(_opened(tmp_path / "E"), 1, 0)


def test_beginning_anew_leaves_a_finished_set_with_the_same_file_alone(tmp_path):
    work = _begun(tmp_path / "E")
    (tmp_path / "set.npy").hardlink_to(work.vectors_file)
    other = _opened(tmp_path / "E", {**PLAN, "texts": "other"})
    other.put(0, 0, np.array([0]), np.ones((1, 3), np.float16))
    other.close()
    np.testing.assert_array_equal(np.load(tmp_path / "set.npy"), VALUES)


def test_the_journal_follows_the_vectors_every_few_seconds(tmp_path, monkeypatch):
    work = _opened(tmp_path / "E")
    _put(work, 0, 0)
    assert (work.folder / "journal").read_bytes() == b""
    monkeypatch.setattr(module, "_COMMIT_EVERY_S", 0.0)
    _put(work, 0, 1)
    lines = [json.loads(line) for line in (work.folder / "journal").read_text().splitlines()]
    assert [(line["block"], line["batch"]) for line in lines] == [(0, 0), (0, 1)]


@pytest.mark.parametrize("free", [True, False])
def test_room_is_taken_at_the_start(tmp_path, monkeypatch, free):
    if not free:  # a system without the call: the size is right all the same
        monkeypatch.delattr(os, "posix_fallocate")
    work = _opened(tmp_path / "E", shape=(1000, 512))
    stat = work.vectors_file.stat()
    assert stat.st_size == 1000 * 512 * 2 + 128
    if free:
        assert stat.st_blocks * 512 >= 1000 * 512 * 2
    assert not work.vectors.any()


LIMITED = """
    import resource, sys
    from pathlib import Path
    import numpy as np
    from sightwords.errors import ArtifactError
    from sightwords.text.plan import BatchRule, Counts
    from sightwords.text.journal import WorkFolder
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    work = WorkFolder(Path(sys.argv[1]))
    try:
        work.open({"texts": "abc"}, (1000, 8), BatchRule(1000, None, 2))
        for number in range(500):
            rows = np.array([2 * number, 2 * number + 1])
            work.put(0, number, rows, np.full((2, 8), number, np.float16))
            if number % 10 == 0:
                work.commit()
        work.finish(0, Counts())
    except ArtifactError as error:
        print(error)
    else:
        print("done")
"""


def _limited(out: Path, size: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(out), str(size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
def test_a_disk_without_room_for_the_vectors_is_told_before_the_work(tmp_path):
    assert "Nothing was begun" in (told_ := _limited(tmp_path / "E", 10_000))
    assert "File too large" in told_
    assert list(tmp_path.iterdir()) == []
    assert _limited(tmp_path / "E", 100_000) == "done\n"


def test_a_disk_that_fills_up_later_keeps_what_is_finished(tmp_path):
    found = _limited(tmp_path / "E", 20_000)  # the vectors fit, the journal does not
    assert "The finished vectors are kept: free some space and run the same command again." in found
    lines = (tmp_path / ".E.embedding" / "journal").read_text().splitlines()
    assert len(lines) > 100
    assert all(json.loads(line)["block"] == 0 for line in lines)
    work = WorkFolder(tmp_path / "E")
    work.open({"texts": "abc"}, (1000, 8), BatchRule(1000, None, 2))
    assert "Going on" in work.note
    kept = [number for number in range(500) if work.has(0, number, np.array([2 * number, 2 * number + 1]))]
    assert kept == list(range(len(lines)))


def test_a_failure_while_writing_says_what_to_do(tmp_path):
    match = r"Cannot write .*E: No space left on device\. Do this\."
    with pytest.raises(ArtifactError, match=match), told(tmp_path / "E", "Do this."):
        raise OSError(28, "No space left on device")
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # else the limit would end the process
