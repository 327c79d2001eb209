"""`sightwords export`: the plain network as a file for others, verified before it is called done."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightwords.errors import ConfigError
from sightwords.exporting.card import CardFacts, find_comparison, make_card
from sightwords.exporting.certificate import Certificate
from sightwords.exporting.check import latency, same_flops, same_outputs
from sightwords.exporting.checkpoint import Subject, open_subject
from sightwords.exporting.config import SUFFIXES, ExportConfig, FormatName
from sightwords.exporting.formats import FORMATS, Format
from sightwords.exporting.formats.hub import check_token, upload
from sightwords.exporting.sample import Sample, open_sample
from sightwords.files import atomic_path, staged_files, write_text
from sightwords.licenses import warn_of_use
from sightwords.models.run_folder import RunFolder

HUB_FILES = {"config.json", "model.safetensors", "README.md", "certificate.json"}


@dataclass(frozen=True)
class ExportResult:
    """What was exported.

    Attributes:
        out: the file, or the hub's folder; None where it was only uploaded.
        files: everything that was written.
        certificate: what was verified.
        snippet: Python that loads the file, with the stock library alone where that is possible.
        warnings: what speaks against the use that the user declared.
        uploaded: address of the upload, empty where there was none.
    """

    out: Path | None
    files: list[Path]
    certificate: Certificate
    snippet: str
    warnings: list[str]
    uploaded: str = ""

    def summary(self) -> str:
        """Return what was verified and written, and how to load it."""
        lines = [self.certificate.text()]
        if self.out is not None:
            lines.append(f"Wrote {self.out} with {', '.join(path.name for path in self.files if path != self.out)}.")
        if self.uploaded:
            lines.append(f"Wrote to the hub: {self.uploaded}")
        shown = "\n".join("  " + line for line in self.snippet.splitlines())
        return "\n".join([*lines, *self.warnings, f"Load it with:\n\n{shown}\n"])

    @property
    def next_command(self) -> str:
        """What to run next."""
        return f"sightwords predict {shlex.quote(str(self.out))} IMAGE" if self.out else ""


def export(config: ExportConfig) -> ExportResult:
    """Export a run's network, and verify the file before it is called done; nothing is left of one that fails.

    Raises:
        ConfigError: the format is not that of the run's library, or --out cannot be replaced.
        ArtifactError: the run is unfinished, the file does not give the trained network's outputs, or --comparison is
            none.
        DataError: --images has no readable image.
        MissingExtraError: a library that the format needs is not installed.
        ModelError: the hub does not take the upload.
    """
    folder = RunFolder(config.run)
    subject = open_subject(folder)
    name = _format_name(config, subject)
    format = FORMATS[name]
    if config.push_to_hub:
        check_token()
    comparison = find_comparison(config.comparison, config.run)
    facts = folder.facts()
    warnings = warn_of_use(facts.parts(subject.info.model), config.use, config.licenses) if facts else []
    sample = open_sample(subject.info, folder.config(), config.images, config.num_images)
    with _staging(config, name) as staging:
        file = format.write(subject, staging, config.out.name if config.out else "")
        certificate = _verified(format, file, subject, sample, config)
        title = (config.push_to_hub or str(config.out)).rstrip("/").rpartition("/")[2].removesuffix(file.suffix)
        snippet = _snippet(format, subject, config, str(config.out))
        shown = _snippet(format, subject, config, config.out.name if config.out else "")
        card = CardFacts(title, config, folder, subject, facts, comparison, certificate, shown)
        _write_beside(staging, file, name, make_card(card), certificate)
        names = sorted(path.name for path in staging.iterdir())
        uploaded = _uploaded(config, staging) if config.out is None else ""
    if config.out is not None:
        uploaded = _uploaded(config, config.out)
    return ExportResult(config.out, _places(config.out, name, names), certificate, snippet, warnings, uploaded)


def _uploaded(config: ExportConfig, folder: Path) -> str:
    return upload(folder, config.push_to_hub, config.private) if config.push_to_hub else ""


def _format_name(config: ExportConfig, subject: Subject) -> FormatName:
    """Return the format that was named, else the one that the ending of --out tells."""
    if config.format is not None:
        return config.format
    assert config.out is not None
    by_ending: dict[str, FormatName] = {".onnx": "onnx", ".pt2": "torch_export"}
    library: FormatName = "timm" if subject.library == "timm" else "torchvision"
    return by_ending.get(config.out.suffix, library)


@contextmanager
def _staging(config: ExportConfig, name: FormatName) -> Iterator[Path]:
    """Yield a folder whose content takes its place when everything went well."""
    if config.out is None:
        with tempfile.TemporaryDirectory(prefix="sightwords-") as folder:
            yield Path(folder)
        return
    if name in SUFFIXES:
        if config.out.is_dir():
            raise ConfigError(f"{config.out} is a folder. Name a file with --out.")
        with staged_files(config.out.parent) as folder_path:
            yield folder_path
        return
    _check_replaceable(config.out)
    with atomic_path(config.out) as folder_path:
        folder_path.mkdir()
        yield folder_path


def _check_replaceable(out: Path) -> None:
    """Refuse a place that holds anything but an earlier export for the hub: it is replaced as a whole."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; --format hub writes a folder. Name another --out.")
    foreign = sorted({path.name for path in out.iterdir()} - HUB_FILES) if out.is_dir() else []
    if foreign:
        raise ConfigError(f"{out} holds something else ({', '.join(foreign[:3])}). Name another --out.")


def _verified(format: Format, file: Path, subject: Subject, sample: Sample, config: ExportConfig) -> Certificate:
    """Return the certificate of a file, once every check is passed."""
    loaded = format.load(file, subject)
    stock, size = subject.stock(), subject.info.image_size
    checks = [
        *loaded.checks,
        same_flops(loaded.flops, stock, size),
        same_outputs(loaded.answer, subject.network, sample.images, format.tolerance),
        latency(loaded.answer, stock, sample.images, config.pairs),
    ]
    return Certificate.of(file, format.name, subject, sample, checks)


def _snippet(format: Format, subject: Subject, config: ExportConfig, out: str) -> str:
    lines = format.snippet(subject, out)
    return lines.replace(f"local-dir:{out}", f"hf-hub:{config.push_to_hub}") if config.push_to_hub else lines


def _write_beside(staging: Path, file: Path, name: FormatName, card: str, certificate: Certificate) -> None:
    """Write certificate and card beside the file; in the hub's folder they have the names that the hub shows."""
    stem = f"{file.name}." if name in SUFFIXES else ""
    write_text(staging / f"{stem}certificate.json", certificate.json())
    write_text(staging / (f"{stem}card.md" if stem else "README.md"), card)


def _places(out: Path | None, name: FormatName, names: list[str]) -> list[Path]:
    if out is None:
        return []
    return [(out.parent if name in SUFFIXES else out) / file for file in names]
