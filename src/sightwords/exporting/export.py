"""`sightwords export`: the plain network as a file for others, verified before it is called done."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.exporting import check
from sightwords.exporting.check import Certificate, Checkpoint, open_checkpoint
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.formats import FORMATS, Format, load_format
from sightwords.exporting.formats.hub import check_token, upload
from sightwords.files import atomic_path, staged_files, write_text
from sightwords.images.loader import input_batches
from sightwords.images.readers import list_source
from sightwords.images.references import ImageReferences
from sightwords.licenses import warn_of_use
from sightwords.models import normalize_images
from sightwords.models.card import make_card, shown_name
from sightwords.models.inference import eval_transform
from sightwords.models.run_folder import RunFolder

_BATCH = 16
_COMPARISON_FILES = ("comparison.json", "effects.parquet", "results.parquet")
_HUB_FILES = {"config.json", "model.safetensors", "README.md", "certificate.json"}


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
            lines.append(f"Uploaded to the hub: {self.uploaded}")
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
        ModelError: the hub refuses the upload.
    """
    checkpoint = open_checkpoint(RunFolder(config.run))
    name = config.format or _format_of(config.out, checkpoint)
    format, is_file = load_format(name), bool(FORMATS[name][1])
    if config.push_to_hub:
        check_token()
    comparison = _comparison(config)
    parts = checkpoint.folder.facts().parts(checkpoint.info.model)
    warnings = warn_of_use(parts, config.use, config.licenses)
    sample = open_sample(checkpoint, config.images, config.num_images)
    with TemporaryDirectory(prefix="sightwords-") as scratch:
        out = config.out or Path(scratch) / "hub"
        with _staging(out, is_file) as staging:
            file = format.write(checkpoint, staging, out.name)
            certificate = _verified(name, format, file, checkpoint, sample, config.pairs)
            card = make_card(
                checkpoint.folder,
                config.licenses,
                title=Path(config.push_to_hub or out).name.removesuffix(file.suffix),
                library=format.library,
                license=config.license,
                datasets=config.dataset,
                tags=[name.replace("_", "-")],
                snippet=_snippet(format, checkpoint, config, out.name),
                comparison=comparison,
                verified=certificate.text(),
            )
            prefix = f"{file.name}." if is_file else ""  # in the hub's folder, names that the hub shows
            write_text(staging / f"{prefix}certificate.json", certificate.json())
            write_text(staging / (f"{prefix}card.md" if is_file else "README.md"), str(card))
            names = sorted(path.name for path in staging.iterdir())
        uploaded = upload(out, config.push_to_hub, config.private) if config.push_to_hub else ""
    return ExportResult(
        out=config.out,
        files=[(config.out.parent if is_file else config.out) / one for one in names] if config.out else [],
        certificate=certificate,
        snippet=_snippet(format, checkpoint, config, str(config.out)),
        warnings=warnings,
        uploaded=uploaded,
    )


def _snippet(format: Format, checkpoint: Checkpoint, config: ExportConfig, out: str) -> str:
    lines = format.snippet(checkpoint, out)
    return lines.replace(f"local-dir:{out}", f"hf-hub:{config.push_to_hub}") if config.push_to_hub else lines


def _comparison(config: ExportConfig) -> dict[str, Any] | None:
    """Return what the card shows of the comparison that the user named, or that the run is part of."""
    # a run lies at runs/CONDITION/NETWORK/ARM/SEED below its comparison
    candidates = [config.comparison] if config.comparison else config.run.resolve().parents[:6]
    found = [one for one in candidates if all((one / name).is_file() for name in _COMPARISON_FILES)]
    if config.comparison and not found:
        raise ArtifactError(f"{config.comparison} is not a finished comparison. Make one with: sightwords compare")
    if not found:
        return None
    folder = found[0]
    epochs = json.loads((folder / "comparison.json").read_text(encoding="utf-8")).get("epochs")
    effects = pq.read_table(folder / "effects.parquet").to_pylist()
    num_seeds = len(pc.unique(pq.read_table(folder / "results.parquet", columns=["seed"])["seed"]))
    trainings = "one training" if num_seeds == 1 else f"{num_seeds} trainings"
    if len({effect["model"] for effect in effects} - {"all models"}) == 1:
        effects = [effect for effect in effects if effect["model"] != "all models"]  # it says the same again
    return {"trainings": f"{trainings} of {epochs} epochs" if epochs else trainings, "effects": effects}


def _format_of(out: Path | None, checkpoint: Checkpoint) -> str:
    """Return the format of the ending of --out; of several, that of the network's library."""
    fitting = [name for name, (_, suffix) in FORMATS.items() if out and suffix == out.suffix]
    return checkpoint.library if checkpoint.library in fitting else fitting[0]


@contextmanager
def _staging(out: Path, is_file: bool) -> Iterator[Path]:
    """Yield a folder whose content takes its place when everything went well."""
    if is_file:
        if out.is_dir():
            raise ConfigError(f"{out} is a folder. Name a file with --out.")
        with staged_files(out.parent) as staging:
            yield staging
    else:
        if out.exists() and not out.is_dir():
            raise ConfigError(f"{out} is a file; --format hub writes a folder. Name another --out.")
        if foreign := sorted({path.name for path in out.iterdir()} - _HUB_FILES) if out.is_dir() else []:
            raise ConfigError(f"{out} holds something else ({', '.join(foreign[:3])}). Name another --out.")
        with atomic_path(out) as staging:
            staging.mkdir()
            yield staging


@dataclass(frozen=True)
class Sample:
    """Images to verify with.

    Attributes:
        images: normalized, float32, shape (N, 3, S, S).
        kind: "validation images of the run", "images of --images", or "images of seeded noise".
        source: where they are from, or why there are none.
    """

    images: Tensor
    kind: str
    source: str


def _verified(
    name: str, format: Format, file: Path, checkpoint: Checkpoint, sample: Sample, num_pairs: int
) -> Certificate:
    """Return the certificate of a file, once every check is passed."""
    loaded, stock = format.load(file, checkpoint), checkpoint.stock()
    checks = [
        *loaded.checks,
        check.same_graph(checkpoint.network, stock),
        check.same_flops(loaded, stock, checkpoint.info.image_size),
        check.same_outputs(loaded.network, checkpoint.network, sample.images, format.tolerance),
        check.latency(loaded.network, stock, sample.images, num_pairs),
    ]
    with file.open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    kwargs = checkpoint.info.factory_kwargs
    return Certificate(
        file=file.name,
        format=name,
        network={"library": checkpoint.library, "name": checkpoint.name, "factory_kwargs": kwargs},
        images={"kind": sample.kind, "source": sample.source, "num_images": len(sample.images)},
        checks=checks,
        sha256=sha256,
    )


def open_sample(checkpoint: Checkpoint, named: str | None, num_images: int) -> Sample:
    """Return images, evenly spread over the `named` source, or the run's own; noise where the run's images are gone.

    Raises:
        DataError: the source that the user named has no readable image.
    """
    info, config = checkpoint.info, checkpoint.folder.config()
    source = str(named or config.get("val") or config.get("images"))
    try:
        references = _references(config, source, named is not None)
        places = np.linspace(0, len(references) - 1, min(num_images, len(references))).round()
        chosen = [references[i] for i in places.astype(int).tolist()]
        parts = [batch.images for batch in input_batches(chosen, eval_transform(info), _BATCH)]
        images = torch.cat(parts)
        if not len(images):
            raise DataError("none of them can be read")
    except DataError as error:
        if named is not None:
            raise
        # what is written is for all to read: no folders of this machine
        reason = str(error).replace(source, shown_name(source)).partition(". ")[0].rstrip(".")
        shape = (num_images, 3, info.image_size, info.image_size)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return Sample(noise, "images of seeded noise", f"the run's images cannot be read: {reason}")
    kind = "images of --images" if named else "validation images of the run"
    return Sample(normalize_images(images, info.mean, info.std), kind, shown_name(source))


def _references(config: Mapping[str, Any], source: str, is_named: bool) -> ImageReferences:
    """Return the validation images of a source; any images of one that the user named."""
    split = "val" if config.get("val") and not is_named else None
    listed = list_source(source, split, config.get("image_column"), config.get("label_column"))
    if "val" not in listed and not is_named:
        raise DataError("there are no validation images")
    return listed.get("val", next(iter(listed.values()))).references
