"""An image's identity: the SHA-256 of its file's bytes, in hex."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


def image_key(data: bytes) -> str:
    """Return the key of an image: SHA-256 of its bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Member:
    """Where an image's bytes lie: a whole file, or a range of a shard.

    Attributes:
        file: path of the file that holds the bytes.
        name: the image's name as a user knows it.
        offset: first byte in the file.
        size: number of bytes, -1 for the whole file.
    """

    file: str
    name: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Return the image's bytes.

        Raises:
            OSError: the file cannot be read, or is shorter than promised.
        """
        buffering = 0 if self.size < 0 else -1  # a whole file needs no buffer; of a range, a plain read may give less
        with open(self.file, "rb", buffering) as file:  # noqa: PTH123 (a million times: Path.open is three times slower)
            if self.size < 0:
                return file.read()
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) != self.size:
            raise OSError(f"{self.file} ends {self.size - len(data)} bytes before the end of {self.name}")
        return data


def digests(members: Iterable[Member]) -> list[bytes | str]:
    """Return the key of every image in bytes, or, where it cannot be read, why."""
    found: list[bytes | str] = []
    for member in members:
        try:
            found.append(hashlib.sha256(member.read()).digest())
        except OSError as error:
            found.append(error.strerror or str(error))
    return found
