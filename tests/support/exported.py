"""One small run and what is exported of it."""

from __future__ import annotations

from pathlib import Path

from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import ExportResult
from sightwords.exporting.export import export as run
from support.images import write_class_folders
from support.trained_run import trained_run

Exported = tuple[Path, dict[str, ExportResult]]


def export_as(folder: Path, format: str, name: str) -> ExportResult:
    return run(ExportConfig(folder / "run", out=folder / name, format=format, pairs=2))


def export_all(folder: Path) -> Exported:
    """Fill a folder with `photos`, `run`, `n.safetensors` and `hub`; return it with what each export reported."""
    photos = write_class_folders(folder / "photos", num_train=1, num_val=4, size=48)
    trained_run(folder / "run", images=str(photos))
    names = {"timm": "n.safetensors", "hub": "hub"}
    return folder, {format: export_as(folder, format, name) for format, name in names.items()}
