"""The run: a folder with a training's configuration, metrics, checkpoints and the plain network it made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from sightwords.align.projector import ProjectorKind, ProjectorNorm
from sightwords.errors import ArtifactError
from sightwords.files import atomic_path, write_text
from sightwords.models.card import RunFacts, TextFacts


@dataclass(frozen=True)
class NetworkInfo:
    """Everything needed to build the plain network again and to feed it.

    Attributes:
        model: `timm:NAME` or `torchvision:NAME`.
        model_kwargs: the user's arguments of the library's factory.
        factory_kwargs: all arguments of the library's factory, which build the very same network.
        num_classes: number of classes.
        class_ids: class ids as the training data had them, in the order of the outputs.
        class_names: readable names, same order.
        multi_label: whether outputs are independent (sigmoid) instead of exclusive (softmax).
        image_size: side of the input in pixels.
        interpolation: of the resize.
        crop_pct: fraction of the resized shorter side that the center crop keeps.
        mean: channel means that are subtracted, of values in [0, 1].
        std: channel standard deviations that are divided by.
    """

    model: str
    model_kwargs: dict[str, Any]
    factory_kwargs: dict[str, Any]
    num_classes: int
    class_ids: list[str]
    class_names: list[str]
    multi_label: bool
    image_size: int
    interpolation: str
    crop_pct: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class RunFolder:
    """A run on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line."""
        return self.folder / "metrics.jsonl"

    @property
    def weights_path(self) -> Path:
        """The plain network and nothing else."""
        return self.folder / "model.safetensors"

    def exists(self) -> bool:
        """Whether a training was started here."""
        return (self.folder / "config.yaml").is_file()

    def start(self, config: Mapping[str, Any], network: NetworkInfo) -> None:
        """Write the configuration (usable as `--config`) and what the network is."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
        _write_json(self.folder / "network.json", asdict(network))

    def config(self) -> dict[str, Any]:
        """Return the configuration that the run was started with."""
        return dict(yaml.safe_load(self._read("config.yaml")))

    def network(self) -> NetworkInfo:
        """Return what the network is.

        Raises:
            ArtifactError: this is not a run.
        """
        return _network_info(json.loads(self._read("network.json")))

    def write_facts(self, facts: RunFacts) -> None:
        """Write what the run is made from."""
        _write_json(self.folder / "facts.json", asdict(facts))

    def facts(self) -> RunFacts:
        """Return what the run is made from."""
        values = json.loads(self._read("facts.json"))
        return RunFacts(**{**values, "texts": [TextFacts(**text) for text in values["texts"]]})

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a line to the metrics."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return all lines of the metrics; a line that a kill cut short is left out."""
        if not self.metrics_path.is_file():
            return []
        records = []
        for line in self.metrics_path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return records

    def truncate_metrics(self, step: int) -> None:
        """Forget the metrics after `step`: a resumed run writes them again."""
        kept = [json.dumps(record) + "\n" for record in self.metrics() if record["step"] <= step]
        write_text(self.metrics_path, "".join(kept))

    def save_checkpoint(self, state: Mapping[str, Any], step: int, keep: int = 2) -> None:
        """Write everything that training needs to go on, in one step; the newest `keep` stay."""
        with atomic_path(self.folder / "checkpoints" / f"step-{step:09d}.pt") as temporary:
            torch.save(dict(state), temporary)
        for old in self._checkpoints()[:-keep]:
            old.unlink()

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the newest checkpoint on the CPU, or None where there is none.

        Raises:
            ArtifactError: it is damaged.
        """
        paths = self._checkpoints()
        if not paths:
            return None
        try:
            return dict(torch.load(paths[-1], map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds for a damaged file
            raise ArtifactError(
                f"The checkpoint {paths[-1]} is damaged ({type(error).__name__}). Remove it and resume from the one "
                "before."
            ) from None

    def save_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write the plain network's weights as safetensors, in one step."""
        _save_tensors(self.weights_path, weights)

    def load_weights(self) -> dict[str, Tensor]:
        """Return the plain network's weights.

        Raises:
            ArtifactError: the training did not get that far, or the file is damaged.
        """
        if not self.weights_path.is_file():
            raise ArtifactError(
                f"{self.folder} has no {self.weights_path.name}: the training has not finished. "
                "Finish it with: sightwords train ... --resume"
            )
        try:
            return dict(load_file(self.weights_path))
        except Exception as error:
            raise ArtifactError(f"{self.weights_path} is damaged ({error}).") from None

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("step-*.pt"))

    def _read(self, name: str) -> str:
        path = self.folder / name
        if not path.is_file():
            raise ArtifactError(f"{self.folder} is not a run ({name} is missing). Make one with: sightwords train")
        return path.read_text(encoding="utf-8")


def _network_info(values: Mapping[str, Any]) -> NetworkInfo:
    return NetworkInfo(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(own, temporary, metadata={"format": "pt"})


WEIGHTS, FACTS = "projector.safetensors", "projector.json"


@dataclass(frozen=True)
class TextSpace:
    """The space of one embedding set, and the projector into it.

    Attributes:
        embeddings: folder of the embedding set, as the training named it.
        encoder: ID of the text encoder.
        revision: which weights of it.
        kind: `linear` or `mlp`.
        norm: `batch` or `none`, inside the MLP.
        in_features: width F of the network's feature.
        out_features: width D of the text vectors.
        targets: `raw`, `centered` or `whitened`: what was done to the text vectors; mean and matrix are in the weights.
        words: of `builtin:words` its vocabulary, as the embedding set has it.
    """

    embeddings: str
    encoder: str
    revision: str
    kind: ProjectorKind
    norm: ProjectorNorm
    in_features: int
    out_features: int
    targets: str
    words: dict[str, Any] | None = None


@dataclass(frozen=True)
class ProjectorInfo:
    """What the projectors of a run are.

    Attributes:
        loss: objective that they were trained by.
        features: module whose output they read, None for what the classifier reads.
        spaces: one for each embedding set, in the order of `--embeddings`; none where the objective does not bring
            images and texts together.
    """

    loss: str
    features: str | None
    spaces: list[TextSpace] = field(default_factory=list)


def save_projectors(folder: RunFolder, info: ProjectorInfo, tensors: Mapping[str, Tensor]) -> None:
    """Write both files, the facts last: where they are, both are whole.

    Args:
        folder: the run.
        info: what the projectors are.
        tensors: of space i `i.projector.*`, and `i.mean` (D,) and `i.matrix` (D, D) where there are any.
    """
    if info.spaces:
        _save_tensors(folder.folder / WEIGHTS, tensors)
    _write_json(folder.folder / FACTS, asdict(info))


def load_projectors(folder: RunFolder) -> tuple[ProjectorInfo, dict[str, Tensor]]:
    """Return what `save_projectors` wrote.

    Raises:
        ArtifactError: this is not a run, it has no projector into a common space (the message says why), or a file is
            damaged.
    """
    if not (folder.folder / FACTS).is_file():
        raise ArtifactError(_why_none(folder))
    try:
        values = json.loads((folder.folder / FACTS).read_text(encoding="utf-8"))
        spaces = [TextSpace(**space) for space in values.pop("spaces")]
        info = ProjectorInfo(**values, spaces=spaces)
        tensors = dict(load_file(folder.folder / WEIGHTS)) if spaces else {}
    except Exception as error:  # safetensors raises an error of its own for a damaged file
        raise ArtifactError(f"The projector in {folder.folder} is damaged ({error}). Train again.") from None
    if not spaces:
        raise ArtifactError(
            f"{folder.folder} was trained by the objective {info.loss}, which does not bring images and texts together "
            "in one space, so it cannot be searched by words. Train with another, such as --align.loss clip."
        )
    return info, tensors


def _why_none(folder: RunFolder) -> str:
    lead = f"{folder.folder} has no projector into the text's space"
    if not folder.config().get("embeddings"):
        return f"{lead}: it was trained on labels alone. Train with: sightwords train IMAGES --embeddings E"
    return f"{lead}: the training has not finished. Finish it with: sightwords train ... --resume"


KEY = "sightwords"


def network_config(info: NetworkInfo) -> dict[str, Any]:
    """Return what travels with a network, as JSON values."""
    library, _, name = info.model.partition(":")
    return {
        "architecture": name.partition(".")[0],  # without the tag of the weights that it may have started from
        "library": library,
        "num_classes": info.num_classes,
        "label_names": info.class_ids,
        "label_descriptions": dict(zip(info.class_ids, info.class_names, strict=True)),
        "multi_label": info.multi_label,
        "model_args": {key: value for key, value in info.factory_kwargs.items() if key != "num_classes"},
        "pretrained_cfg": {  # the preprocessing under timm's names
            "input_size": [3, info.image_size, info.image_size],
            "interpolation": info.interpolation,
            "crop_pct": info.crop_pct,
            "crop_mode": "center",
            "mean": list(info.mean),
            "std": list(info.std),
            "num_classes": info.num_classes,
        },
        KEY: asdict(info),
    }


def metadata_of(info: NetworkInfo) -> dict[str, str]:
    """Return the same as texts by name, for formats that keep nothing else: each value is JSON."""
    config = network_config(info)
    flat = {**config.pop("pretrained_cfg"), **config}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in flat.items()}


def read_network_config(config: Mapping[str, Any] | str | None, where: Path) -> NetworkInfo:
    """Return what a network is, from what traveled with it.

    Args:
        config: the object, or the text of its entry `sightwords`; None where there was nothing.
        where: the file, for the message.

    Raises:
        ArtifactError: it is not what `sightwords export` writes.
    """
    try:
        values = json.loads(config) if isinstance(config, str) else (config or {})[KEY]
        return _network_info(values)
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"{where} does not say what network it holds and what it takes; files of `sightwords export` say so."
        ) from None
