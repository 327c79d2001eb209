"""Finished batches wait in one SQLite file beside the embedding set, so that a run that was killed goes on.

The file `.NAME.embedding` beside the set NAME holds what the vectors depend on (the plan) and each finished batch,
committed every two seconds; SQLite keeps it whole through kills and full disks.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sightwords.errors import ArtifactError
from sightwords.text.plan import Batch

_COMMIT_EVERY_S = 2.0
_BATCHES = """CREATE TABLE batches (block INTEGER, number INTEGER, num_split INTEGER, num_pieces INTEGER,
    num_tokens INTEGER, rows BLOB, vectors BLOB, PRIMARY KEY (block, number))"""


class Journal:
    """The finished batches of an embedding set in the making.

    Args:
        out: folder of the embedding set.

    Attributes:
        plan: what the batches depend on; empty where there are none.
        done: rows of each finished batch by (block, number), int64, shape (T,).
        note: what became of unfinished work that was found, for people; empty where there was none.

    Raises:
        ArtifactError: the file cannot be opened.
    """

    def __init__(self, out: Path) -> None:
        self.plan: dict[str, Any] = {}
        self.done: dict[tuple[int, int], np.ndarray] = {}
        self.note = ""
        self._out, self._file = out, out.parent / f".{out.name}.embedding"
        self._vectors = self._file.with_name(f"{self._file.name}.npy")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self._file)
        self._committed_s = time.monotonic()
        try:
            self._read()
        except (sqlite3.Error, ValueError) as error:
            self.plan, self.done = {}, {}
            self.note = f"The unfinished work in {self._file} is damaged ({error}); starting afresh"

    def begin(self, plan: Mapping[str, Any], resume: bool) -> None:
        """Go on with the batches that are there, or drop them and begin with another plan.

        Args:
            plan: everything that the vectors depend on, JSON values.
            resume: whether the batches that are there are of this plan.

        Raises:
            ArtifactError: the disk is full.
        """
        if resume:
            self.note = f"Going on with the unfinished work in {self._file}" if self.done else ""
            return
        if self.plan:
            self.note = f"{self._file} holds unfinished work of other texts or another encoder; starting afresh"
        self.remove()
        with disk_errors_explained(self._out):
            self._connection = sqlite3.connect(self._file)
            self._connection.execute("BEGIN")
            self._connection.execute("CREATE TABLE plan (json TEXT)")
            self._connection.execute(_BATCHES)
            self._connection.execute("INSERT INTO plan VALUES (?)", (json.dumps(plan),))
            self._connection.commit()

    def has(self, batch: Batch) -> bool:
        """Return whether the vectors of a batch are here."""
        return np.array_equal(self.done.get((batch.block, batch.number), ()), batch.rows)

    def put(self, batch: Batch, vectors: np.ndarray) -> None:
        """Keep the vectors of a batch's texts, float16, shape (T, D).

        Raises:
            ArtifactError: the disk is full.
        """
        num_split = int((np.diff(batch.starts, append=len(batch.pieces)) > 1).sum())
        counts = num_split, len(batch.pieces), int(batch.num_tokens.sum())
        row = (batch.block, batch.number, *counts, batch.rows.tobytes(), vectors.tobytes())
        with disk_errors_explained(self._out):
            self._connection.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            if time.monotonic() - self._committed_s >= _COMMIT_EVERY_S:
                self._connection.commit()
                self._committed_s = time.monotonic()

    def counts(self) -> dict[str, int]:
        """Return the numbers of split texts, of pieces, and of tokens in all batches."""
        sums = "SELECT sum(num_split), sum(num_pieces), sum(num_tokens) FROM batches"
        found = self._connection.execute(sums).fetchone()
        return dict(zip(("num_split_texts", "num_pieces", "num_tokens_total"), found, strict=True))

    def write_vectors(self, shape: tuple[int, int], rows_of_block: int) -> Path:
        """Write the vectors of all batches to a file of NumPy beside the set and return its path.

        Args:
            shape: number of all texts and width of the vectors, (R, D).
            rows_of_block: texts in a block.

        Raises:
            ArtifactError: the disk is full.
        """
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
        with disk_errors_explained(self._out), self._vectors.open("wb") as stream:
            self._connection.commit()
            np.lib.format.write_array_header_1_0(stream, header)
            for block, first in enumerate(range(0, shape[0], rows_of_block)):
                part = np.empty((min(rows_of_block, shape[0] - first), shape[1]), np.float16)
                batches = self._connection.execute("SELECT rows, vectors FROM batches WHERE block = ?", (block,))
                for rows, vectors in batches:
                    places = np.frombuffer(rows, np.int64) - first
                    part[places] = np.frombuffer(vectors, np.float16).reshape(-1, shape[1])
                stream.write(part.data)
        return self._vectors

    def close(self) -> None:
        """Commit what was put and let go of the file."""
        try:
            with disk_errors_explained(self._out):
                self._connection.commit()
        finally:
            self._connection.close()

    def remove(self) -> None:
        """Delete the file."""
        self._connection.close()
        self.plan, self.done = {}, {}
        for file in (self._file, self._file.with_name(f"{self._file.name}-journal"), self._vectors):
            file.unlink(missing_ok=True)

    def _read(self) -> None:
        if not self._connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return  # new, or killed before it had a plan
        if (found := self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise ValueError(found)
        plan = dict(json.loads(self._connection.execute("SELECT json FROM plan").fetchone()[0]))
        for block, number, rows in self._connection.execute("SELECT block, number, rows FROM batches"):
            self.done[block, number] = np.frombuffer(rows, np.int64)
        self.plan = plan


@contextmanager
def disk_errors_explained(out: Path) -> Iterator[None]:
    """Turn errors of writing the embedding set `out` into one that says what to do.

    Raises:
        ArtifactError: instead of an OSError or an error of SQLite.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise ArtifactError(
            f"Cannot write {out}: {error}. What was there is unchanged and finished vectors are kept: free some space "
            "and run the same command again."
        ) from error
