"""Vectors in a folder that outlives the process, so that an interrupted run goes on.

The folder `.NAME.embedding` beside the embedding set NAME holds

    plan.json     what the vectors are of: texts, encoder, revision, precision, rule of the batches
    vectors.npy   all rows, float16, their place on the disk reserved at the start
    journal       one line of JSON for each finished batch and block, with a checksum of its vectors

A batch counts as done when its line is in the journal, which is written after its vectors are on the disk. A folder
that belongs to something else, or is damaged, is emptied.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sightwords.errors import ArtifactError
from sightwords.text.plan import BatchRule, Counts, block_rows


class Store(Protocol):
    """Takes the vectors of batches and blocks, and knows which it has."""

    vectors: np.ndarray

    def block(self, number: int) -> Counts | None:
        """Return what became of a block's texts if all its vectors are here, else None."""

    def has(self, block: int, batch: int, rows: np.ndarray) -> bool:
        """Return whether the vectors of a batch are here."""

    def put(self, block: int, batch: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors of a batch."""

    def finish(self, block: int, counts: Counts) -> None:
        """Note that all batches of a block are here."""


class MemoryStore:
    """Vectors in memory.

    Args:
        num_texts: R.
        dimension: D.
    """

    def __init__(self, num_texts: int, dimension: int) -> None:
        self.vectors: np.ndarray = np.zeros((num_texts, dimension), np.float16)

    def block(self, number: int) -> Counts | None:
        """Return None: nothing was here before."""
        return None

    def has(self, block: int, batch: int, rows: np.ndarray) -> bool:
        """Return False: nothing was here before."""
        return False

    def put(self, block: int, batch: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors of a batch."""
        self.vectors[rows] = vectors

    def finish(self, block: int, counts: Counts) -> None:
        """Do nothing."""


_COMMIT_EVERY_S = 2.0
_NOT_COMPARED = {"precision_asked", "trial"}  # how the precision was chosen; the precision itself counts
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


class WorkFolder:
    """Vectors in a folder beside the embedding set, from which an interrupted run goes on.

    Args:
        out: folder of the embedding set.

    Attributes:
        folder: the work folder.
        vectors: float16, shape (R, D), memory-mapped; there once the folder is open.
        note: what happened on opening, for people; empty where there is nothing to say.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.parent / f".{out.name}.embedding"
        self.vectors: np.ndarray
        self.note = ""
        self._rule: BatchRule
        self._batches: dict[tuple[int, int], int] = {}
        self._blocks: dict[int, Counts] = {}
        self._pending: list[str] = []
        self._journal = -1
        self._committed_s = time.monotonic()

    @property
    def vectors_file(self) -> Path:
        """The file of the vectors, an array of NumPy."""
        return self.folder / "vectors.npy"

    def plan(self) -> dict[str, Any]:
        """Return the plan that the folder holds; empty where there is none."""
        try:
            found = json.loads((self.folder / "plan.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def open(self, plan: Mapping[str, Any], shape: tuple[int, int], rule: BatchRule) -> None:
        """Go on with what the folder holds of this plan, or begin anew.

        Args:
            plan: everything that the vectors depend on, JSON values; what `_NOT_COMPARED` names is kept beside it.
            shape: (R, D).
            rule: how texts become batches.

        Raises:
            ArtifactError: the disk cannot hold the vectors.
        """
        self._rule = rule
        compared = {**plan, "shape": list(shape), "rule": vars(rule)}
        if self.folder.exists() and not self._resume(compared, shape):
            self._clear()
        if not self.folder.exists():
            with told(self.folder, "Nothing was begun."):
                self._create(compared, shape)
        self._journal = os.open(self.folder / "journal", os.O_WRONLY | os.O_APPEND)

    def block(self, number: int) -> Counts | None:
        """Return what became of a block's texts if all its vectors are here, else None."""
        return self._blocks.get(number)

    def has(self, block: int, batch: int, rows: np.ndarray) -> bool:
        """Return whether the vectors of a batch are here, as they were when they were put."""
        known = self._batches.get((block, batch))
        return known is not None and known == _checksum(self.vectors[rows])

    def put(self, block: int, batch: int, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Keep the vectors of a batch.

        Raises:
            ArtifactError: the disk is full.
        """
        self.vectors[rows] = vectors
        self._note({"block": block, "batch": batch, "checksum": _checksum(vectors)})
        if time.monotonic() - self._committed_s >= _COMMIT_EVERY_S:
            self.commit()

    def finish(self, block: int, counts: Counts) -> None:
        """Note that all batches of a block are here.

        Raises:
            ArtifactError: the disk is full.
        """
        rows = block_rows(block, len(self.vectors), self._rule)
        self._note({"block": block, "counts": vars(counts), "checksum": _checksum(self.vectors[rows])})
        self.commit()

    def commit(self) -> None:
        """Put everything on the disk: first the vectors, then the lines that say that they are there."""
        with told(self.folder, "The finished vectors are kept: free some space and run the same command again."):
            self.vectors.flush()  # type: ignore[attr-defined]
            self._append("".join(self._pending).encode())
        self._pending.clear()
        self._committed_s = time.monotonic()

    def close(self) -> None:
        """Put everything on the disk and let go of the folder."""
        try:
            self.commit()
        finally:
            os.close(self._journal)

    def remove(self) -> None:
        """Delete the folder; it may be missing."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _note(self, record: Mapping[str, Any]) -> None:
        self._pending.append(json.dumps(record) + "\n")

    def _append(self, lines: bytes) -> None:
        """Write lines behind the journal, all or none.

        Raises:
            OSError: the disk is full.
        """
        end = os.fstat(self._journal).st_size
        try:
            if os.write(self._journal, lines) < len(lines):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._journal)
        except OSError:
            os.ftruncate(self._journal, end)
            raise

    def _resume(self, plan: Mapping[str, Any], shape: tuple[int, int]) -> bool:
        """Take over what is here, or say in `note` why not."""
        found = self.plan()
        if not found:
            self.note = f"{self.folder} holds unfinished work that is damaged (no plan); starting afresh"
        elif _compared(found) != _compared(json.loads(json.dumps(plan))):
            self.note = f"{self.folder} holds unfinished work of other texts or another encoder; starting afresh"
        else:
            try:
                self._read(shape)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._batches, self._blocks = {}, {}
                self.note = f"{self.folder} holds unfinished work that is damaged ({error}); starting afresh"
            else:
                return True
        return False

    def _read(self, shape: tuple[int, int]) -> None:
        """Take over the vectors and the journal, whose last line may be unfinished.

        Raises:
            ValueError: something is not as it was written.
        """
        found = np.load(self.vectors_file, mmap_mode="r")  # for writing NumPy would lengthen a file that was cut
        if found.shape != shape or found.dtype != np.float16:
            raise ValueError(f"vectors.npy has the shape {found.shape}")
        vectors = np.load(self.vectors_file, mmap_mode="r+")
        journal = self.folder / "journal"
        whole = journal.read_bytes()
        end = whole.rfind(b"\n") + 1
        for line in whole[:end].decode().splitlines():
            self._read_line(json.loads(line), vectors)
        os.truncate(journal, end)
        self.vectors = vectors
        self.note = f"Going on with the unfinished work in {self.folder}" if end else ""

    def _read_line(self, record: Mapping[str, Any], vectors: np.ndarray) -> None:
        block, checksum = int(record["block"]), int(record["checksum"])
        if "batch" in record:
            self._batches[block, int(record["batch"])] = checksum
            return
        self._batches.clear()  # blocks are finished one after another
        if checksum != _checksum(vectors[block_rows(block, len(vectors), self._rule)]):
            raise ValueError(f"the vectors of block {block} are not those that were written")
        self._blocks[block] = Counts(**record["counts"])

    def _create(self, plan: Mapping[str, Any], shape: tuple[int, int]) -> None:
        """Make the folder; its name is given last, so that it is whole or absent."""
        new = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            _reserve(new / "vectors.npy", shape)
            (new / "journal").touch()
            (new / "plan.json").write_text(json.dumps(plan, indent=2), encoding="utf-8")
            new.rename(self.folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self.vectors = np.load(self.vectors_file, mmap_mode="r+")

    def _clear(self) -> None:
        """Delete the folder, never its content in place: the vectors may be those of a finished set (a hard link)."""
        self.remove()
        self._batches, self._blocks = {}, {}


@contextmanager
def told(place: Path, state: str) -> Iterator[None]:
    """Turn errors of the file system into ones that say what to do.

    Args:
        place: where was to be written.
        state: what is left and what to do, in whole sentences.

    Raises:
        ArtifactError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ArtifactError(f"Cannot write {place}: {error.strerror or error}. {state}") from error


def _compared(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plan.items() if name not in _NOT_COMPARED}


def _reserve(path: Path, shape: tuple[int, int]) -> None:
    """Make an array of zeros whose place on the disk is taken: a full disk shows now and not after hours of work.

    Raises:
        OSError: there is not enough room.
    """
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.flush()
        start, size = file.tell(), shape[0] * shape[1] * 2
        try:
            os.posix_fallocate(file.fileno(), start, size)
        except AttributeError:  # not a call of this system
            file.truncate(start + size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            file.truncate(start + size)


def _checksum(vectors: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(vectors).data)
