"""The certificate: what was verified of an exported file, for people and for machines."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sightwords.exporting.check import Check
from sightwords.exporting.checkpoint import Subject
from sightwords.exporting.sample import Sample

PACKAGES = ("sightwords", "torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Certificate:
    """What was verified. It is written only where every check was passed.

    Attributes:
        file: name of the file that it is about.
        format: its format.
        network: what it holds: library, name, arguments of the factory.
        images: what it was verified with.
        checks: what was found.
        sha256: of the file's bytes.
    """

    file: str
    format: str
    network: dict[str, Any]
    images: dict[str, Any]
    checks: list[Check]
    sha256: str

    @classmethod
    def of(cls, file: Path, format: str, subject: Subject, sample: Sample, checks: list[Check]) -> Certificate:
        """Return the certificate of a file that passed its checks."""
        network = {"library": subject.library, "name": subject.name, "factory_kwargs": subject.info.factory_kwargs}
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        return cls(file.name, format, network, sample.plain(), checks, digest)

    def text(self) -> str:
        """Return what was verified, in a few lines."""
        images = self.images
        lines = [f"Verified with {images['num_images']} {images['kind']} ({images['source']}):"]
        return "\n".join(lines + [f"  {check.name:<13} {check.text}" for check in self.checks])

    def json(self) -> str:
        """Return everything as JSON, with the versions and the machine that it was verified by."""
        values = {
            **asdict(self),
            "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "system": f"{platform.system()} {platform.machine()}",
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
