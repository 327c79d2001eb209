"""`sightwords predict`: the classes of images, by a run's network or by any file that `sightwords export` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.export.passes import move_to_device_pass

from sightwords.errors import ArtifactError, ConfigError, DataError, MissingExtraError
from sightwords.evaluation.config import PredictConfig
from sightwords.files import row_writer
from sightwords.hub import choose_device
from sightwords.images.loader import input_batches
from sightwords.images.readers import find_images
from sightwords.models import normalize_images
from sightwords.models.inference import Prediction, eval_transform, rebuild, top_predictions
from sightwords.models.run_folder import KEY, NetworkInfo, RunFolder, read_network_config
from sightwords.progress import Progress, duration, stopwatch

_KINDS = "a run's folder, a hub folder, or a file that ends in .safetensors, .onnx or .pt2"
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_NUM_SHOWN, _NUM_REASONS = 40, 10
_COLUMNS = ("class", "name", "score")


@dataclass(frozen=True)
class Model:
    """A network that classifies: from normalized images (B, 3, S, S) on `device` to logits (B, K)."""

    info: NetworkInfo
    network: Callable[[Tensor], Tensor]
    device: torch.device


def open_model(path: Path, device: str) -> Model:
    """Return the network of a run's folder, or of what `sightwords export` wrote.

    Raises:
        ArtifactError: there is none, it is damaged, or what belongs to it is missing.
        ConfigError: the device cannot be used.
        MissingExtraError: onnxruntime is not installed.
    """
    chosen = choose_device(device)
    if path.is_dir():
        return _folder(path, chosen)
    readers = {".safetensors": _weights, ".onnx": _onnx, ".pt2": _program}
    if not path.is_file():
        raise ArtifactError(f"There is no {path}. Name {_KINDS}.")
    if path.suffix not in readers:
        raise ArtifactError(f"{path} is of no known format. Name {_KINDS}.")
    return readers[path.suffix](path, chosen)


def _folder(path: Path, device: torch.device) -> Model:
    run = RunFolder(path)
    if run.exists():
        return _built(run.network(), run.load_weights(), path, device)
    if not (path / _CONFIG).is_file() or not (path / _WEIGHTS).is_file():
        raise ArtifactError(f"{path} is neither a run nor a hub folder ({_CONFIG} and {_WEIGHTS}).")
    return _weights(path / _WEIGHTS, device, path / _CONFIG)


def _weights(path: Path, device: torch.device, sidecar: Path | None = None) -> Model:
    sidecar = sidecar or path.with_suffix(".json")
    if not sidecar.is_file():
        raise ArtifactError(f"{sidecar} is missing: it says what network {path.name} is for. Keep the two together.")
    try:
        config, tensors = json.loads(sidecar.read_text(encoding="utf-8")), load_file(path)
    except (ValueError, SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} or {sidecar.name} is damaged ({error}).") from None
    return _built(read_network_config(config, sidecar), tensors, path, device)


def _onnx(path: Path, device: torch.device) -> Model:
    network = OnnxNetwork(path, device.type)
    return Model(read_network_config(network.metadata.get(KEY), path), network, torch.device("cpu"))


def _program(path: Path, device: torch.device) -> Model:
    files: dict[str, Any] = {_CONFIG: ""}
    try:
        program = torch.export.load(path, extra_files=files)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise ArtifactError(f"{path} is not a program of torch.export ({type(error).__name__}).") from None
    if device.type != "cpu":
        program = move_to_device_pass(program, device)
    config = json.loads(files[_CONFIG]) if files[_CONFIG] else None
    return Model(read_network_config(config, path), program.module(), device)


def _built(info: NetworkInfo, weights: dict[str, Tensor], path: Path, device: torch.device) -> Model:
    try:
        return Model(info, rebuild(info, weights).network.to(device).eval(), device)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


class OnnxNetwork:
    """A network from an ONNX file, run by onnxruntime on `cpu` or `cuda`; 0 threads are onnxruntime's own choice.

    Attributes:
        metadata: texts that the file carries, by name.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ArtifactError: the file is damaged, or no ONNX file.
        ConfigError: onnxruntime was installed without support for the device.
    """

    def __init__(self, path: Path, device: str = "cpu", num_threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "export") from None
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device)
        if provider not in onnxruntime.get_available_providers():
            raise ConfigError(f"This onnxruntime does not run on {device}. Use --device cpu, or install another one.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3  # its warnings are about its own optimizations
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:  # its errors have no common base
            reason = str(error).partition("\n")[0]
            raise ArtifactError(f"{path} is not an ONNX file that onnxruntime can run: {reason}") from None
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        """Return logits, float32, shape (B, K), of normalized images (B, 3, S, S)."""
        (logits,) = self._session.run(["logits"], {"images": images_BCHW.cpu().numpy()})
        return torch.from_numpy(logits)


@dataclass(frozen=True)
class ImagePrediction:
    """The classes of an image, most probable first, or the reason why it could not be read."""

    image: str
    classes: list[Prediction]
    reason: str = ""


@dataclass(frozen=True)
class PredictResult:
    """Predictions for images.

    Attributes:
        predictions: of the first images, as many as are shown.
        num_images: images that were read.
        unreadable: names and reasons of the others.
        multi_label: whether each class has a probability of its own.
        out: file of all predictions.
        seconds: duration.
    """

    predictions: list[ImagePrediction]
    num_images: int
    unreadable: list[str]
    multi_label: bool
    out: Path | None
    seconds: float
    next_command = ""

    def summary(self) -> str:
        """Return the predictions, and what could not be read."""
        lines = []
        for one in self.predictions:
            classes = ", ".join(f"{found.class_name} {found.probability:.1%}" for found in one.classes)
            lines.append(f"{one.image}: {classes}")
        if self.num_images > len(self.predictions):
            where = f"in {self.out}" if self.out else "not shown; write all with --out FILE.csv"
            lines.append(f"... and {self.num_images - len(self.predictions)} more images, {where}")
        if self.multi_label:
            lines.append("An image may show several classes: each has a probability of its own.")
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} images could not be read and were left out, such as")
            lines += [f"  {text}" for text in self.unreadable[:_NUM_REASONS]]
        wrote = f"; wrote {self.out}" if self.out else ""
        return "\n".join([*lines, f"Predicted {self.num_images} images in {duration(self.seconds)}{wrote}"])


def predict(config: PredictConfig) -> PredictResult:
    """Predict the classes of images.

    Raises:
        ArtifactError: the model is missing or damaged.
        DataError: none of the images can be read, or a folder holds none.
        MissingExtraError: a library that the format needs is not installed.
    """
    shown: list[ImagePrediction] = []
    unreadable: list[str] = []
    num_read = 0
    with stopwatch() as seconds:
        model = open_model(config.model, config.device)
        top = min(config.top, model.info.num_classes)
        is_table = config.out is not None and config.out.suffix == ".csv"
        with row_writer(config.out) as write:
            for prediction in _predictions(model, config, top):
                write(_row(prediction, top, is_table))
                if prediction.reason:
                    unreadable.append(f"{prediction.image}: {prediction.reason}")
                    continue
                num_read += 1
                if num_read <= _NUM_SHOWN:
                    shown.append(prediction)
            if not num_read:
                raise DataError(f"None of the {len(unreadable)} images can be read; the first: {unreadable[0]}")
    return PredictResult(shown, num_read, unreadable, model.info.multi_label, config.out, seconds=seconds[0])


def _predictions(model: Model, config: PredictConfig, top: int) -> Iterator[ImagePrediction]:
    """Yield what the network predicts, image by image in their order."""
    images = find_images(config.images)
    with Progress("Predicting", len(images), "images") as progress:
        for batch in input_batches(images, eval_transform(model.info), config.batch_size, config.workers):
            found: list[list[Prediction]] = []
            if len(batch.images):
                with torch.inference_mode():
                    pixels = normalize_images(batch.images.to(model.device), model.info.mean, model.info.std)
                    found = top_predictions(model.info, model.network(pixels), top)
            rest = iter(found)
            for name, reason in zip(batch.names, batch.reasons, strict=True):
                yield ImagePrediction(name, [] if reason else next(rest), reason)
            progress.advance(len(batch.names))


def _row(prediction: ImagePrediction, top: int, is_table: bool) -> dict[str, object]:
    """Return a row of the file of all predictions; in a table each place has columns of its own."""
    values = [(c.class_id, c.class_name, round(c.probability, 6)) for c in prediction.classes]
    if not is_table:
        classes = [dict(zip(_COLUMNS, one, strict=True)) for one in values]
        found = {"error": prediction.reason} if prediction.reason else {"predictions": classes}
        return {"image": prediction.image, **found}
    cells = [cell for one in values for cell in one] or 3 * top * [""]
    names = [f"{name}{place}" for place in range(1, top + 1) for name in _COLUMNS]
    return {"image": prediction.image, "error": prediction.reason, **dict(zip(names, cells, strict=True))}
