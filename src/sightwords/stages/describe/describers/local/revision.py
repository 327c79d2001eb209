"""The revision of a model in a local folder: a hash of its contents, so that moving the folder changes nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_SMALL = 32 * 2**20
_BLOCK = 64 * 2**10
_NUM_BLOCKS = 64
# what is no part of the model: notes, and what tools leave behind
_IGNORED_SUFFIXES = {".md", ".lock", ".png", ".jpg", ".onnx"}


def folder_revision(folder: Path) -> str:
    """Return a hash of the model files directly in `folder`, 16 hex digits.

    Small files (configuration, tokenizer, chat template, index of the weights) count whole. Of large ones (the
    weights) the size and 64 blocks spread evenly over the file count: another training run changes every block, and
    reading 100 GB to name a model would take minutes.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith(".") and file.suffix.lower() not in _IGNORED_SUFFIXES:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            _update(digest, file)
    return digest.hexdigest()[:16]


def _update(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if size <= _SMALL:
            digest.update(stream.read())
            return
        for i in range(_NUM_BLOCKS):
            stream.seek((size - _BLOCK) * i // (_NUM_BLOCKS - 1), os.SEEK_SET)
            digest.update(stream.read(_BLOCK))
