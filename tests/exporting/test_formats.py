"""What every format carries, and that each certificate rests on checks that can fail."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from sightwords.errors import ArtifactError, DataError, MissingExtraError
from sightwords.evaluation.config import PredictConfig
from sightwords.evaluation.predict import predict
from sightwords.exporting import check
from sightwords.exporting.check import Checkpoint, Loaded, open_checkpoint
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import export, open_sample
from sightwords.exporting.formats import FORMATS, load_format
from sightwords.images.decode import EncodedImage
from sightwords.models.inference import TrainedNetwork, eval_transform
from sightwords.models.run_folder import RunFolder
from support.exported import Exported, export_as
from support.trained_run import trained_run


@pytest.fixture(scope="module")
def programs(exported) -> Exported:
    """The folder of `exported` with `n.onnx` and `n.pt2` too, which take some seconds."""
    folder, results = exported
    names = {"onnx": "n.onnx", "torch_export": "n.pt2"}
    return folder, {**results, **{format: export_as(folder, format, name) for format, name in names.items()}}


@pytest.fixture
def checkpoint(exported) -> Checkpoint:
    return open_checkpoint(RunFolder(exported[0] / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["timm", "onnx", "torch_export", "hub"])
def test_every_format_has_its_certificate_and_card(programs, format):
    folder, results = programs
    result = results[format]
    checks = {one.name: one for one in result.certificate.checks}
    beside = folder / "hub" if format == "hub" else folder
    stem = "" if format == "hub" else f"{result.out.name}."
    written = json.loads((beside / f"{stem}certificate.json").read_text())
    assert [one["name"] for one in written["checks"]] == list(checks)
    assert {"loads", "same graph", "same FLOPs", "same outputs", "latency"} <= set(checks)
    assert written["images"] == {"kind": "validation images of the run", "source": "photos", "num_images": 12}
    assert (beside / ("README.md" if format == "hub" else f"{stem}card.md")).is_file()
    assert checks["same FLOPs"].values["flops"] == checks["same FLOPs"].values["stock_flops"] > 1e6
    outputs = checks["same outputs"].values
    assert outputs["batch_sizes"] == [1, 2, 5, 12]
    assert outputs["largest_difference"] <= outputs["tolerance"]
    assert outputs["bit_equal"] or format == "onnx"


@pytest.mark.slow
def test_every_format_predicts_as_the_run_does(programs, tmp_path):
    folder, _ = programs
    network = TrainedNetwork(RunFolder(folder / "run"), "cpu")
    transform = eval_transform(network.info)
    for model in ("run", "n.safetensors", "n.onnx", "n.pt2", "hub"):
        predict(PredictConfig(folder / model, str(folder / "photos" / "val"), out=tmp_path / "p.csv", workers=0))
        rows = list(csv.DictReader((tmp_path / "p.csv").open()))
        assert len(rows) == 12
        for row in rows[:3]:
            pixels = transform(EncodedImage(Path(row["image"]).read_bytes()), 0, "")
            scores = network(pixels[None])[1].softmax(1)[0].tolist()
            wanted = dict(zip(network.info.class_ids, scores, strict=True))
            assert [row[f"class{i}"] for i in (1, 2, 3)] == sorted(wanted, key=lambda name: -wanted[name])
            assert float(row["score1"]) == pytest.approx(max(scores), abs=1e-5)
            assert row["name1"] == row["class1"].title()


@pytest.mark.slow
def test_onnx_is_one_file_that_onnxruntime_alone_can_use(programs, checkpoint, tmp_path):
    file = programs[0] / "n.onnx"
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["label_names"]) == ["bar", "disc", "square"]
    assert json.loads(metadata["input_size"]) == [3, 32, 32]
    assert {"mean", "std", "crop_pct", "interpolation", "multi_label"} <= metadata.keys()
    images = torch.rand(7, 3, 32, 32)
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, checkpoint.network(images).numpy(), atol=1e-4)
    assert b"site-packages" not in file.read_bytes()
    damaged = onnx.load(file)
    damaged.graph.node[0].input[0] = "nowhere"
    onnx.save(damaged, tmp_path / "damaged.onnx")
    with pytest.raises(ArtifactError, match="ONNX's checker refuses"):
        load_format("onnx").load(tmp_path / "damaged.onnx", checkpoint)


@pytest.mark.slow
def test_a_torch_program_carries_the_configuration(programs):
    folder, _ = programs
    files = {"config.json": ""}
    network = torch.export.load(folder / "n.pt2", extra_files=files).module()
    assert json.loads(files["config.json"])["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    assert network(torch.rand(3, 3, 32, 32)).shape == (3, 3)
    assert b"site-packages" not in (folder / "n.pt2").read_bytes()


def test_timm_reads_the_hub_folder_with_its_preprocessing_and_classes(exported, checkpoint):
    folder, results = exported
    network = timm.create_model(f"local-dir:{folder / 'hub'}", pretrained=True).eval()
    config, info = timm.data.resolve_model_data_config(network, use_test_size=True), checkpoint.info
    assert (config["input_size"], config["interpolation"]) == ((3, 32, 32), info.interpolation)
    assert config["crop_pct"] == info.crop_pct
    assert network.pretrained_cfg["label_names"] == ["bar", "disc", "square"]
    assert "license" not in network.pretrained_cfg  # that of timm's own weights is not that of these
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), checkpoint.network(images))
    scope = {}
    exec(results["hub"].snippet, scope)
    assert scope["transform"](Image.new("RGB", (50, 60))).shape == (3, 32, 32)


def spoiled(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with weights that are a little off: every format's checks must see it."""
    weights = {name: value + 1e-2 if value.is_floating_point() else value for name, value in checkpoint.weights.items()}
    return replace(checkpoint, weights=weights, network=checkpoint.stock(weights))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm", "onnx", "torch_export", "hub"])
def test_a_file_with_other_weights_is_refused(programs, checkpoint, name):
    folder, results = programs
    format, other, images = load_format(name), spoiled(checkpoint), torch.rand(3, 3, 32, 32)
    file = folder / "hub" / "model.safetensors" if name == "hub" else results[name].out
    with pytest.raises(ArtifactError, match=r"other outputs|other weights"):
        check.same_outputs(format.load(file, other).network, other.network, images, format.tolerance)


def test_an_export_with_other_weights_leaves_nothing(exported, tmp_path, monkeypatch):
    format = load_format("timm")
    write = type(format).write
    monkeypatch.setattr(type(format), "write", lambda self, one, *place: write(self, spoiled(one), *place))
    with pytest.raises(ArtifactError, match="other outputs"):
        export(ExportConfig(exported[0] / "run", out=tmp_path / "n.safetensors"))
    assert list(tmp_path.iterdir()) == []


def test_the_graph_must_be_the_stock_one(checkpoint):
    found = check.same_graph(checkpoint.network, checkpoint.stock())
    assert found.values["num_parameters"] == sum(p.numel() for p in checkpoint.network.parameters())
    changed = checkpoint.stock()
    changed.fc = torch.nn.Sequential(torch.nn.Dropout(0.1), changed.fc)
    with pytest.raises(ArtifactError, match="a module differs"):
        check.same_graph(changed, checkpoint.stock())
    with pytest.raises(ArtifactError, match="a tensor differs"):
        check.same_graph(timm.create_model("test_resnet", num_classes=4), checkpoint.stock())


def test_outputs_weights_flops_and_latency_are_compared(checkpoint):
    network, images = checkpoint.network, torch.rand(3, 3, 32, 32)
    assert check.same_outputs(network, network, images, 0.0).values["bit_equal"]
    assert check.same_outputs(lambda batch: network(batch) + 1e-6, network, images, 1e-4)
    for other, tolerance, message in (
        (lambda batch: network(batch) + 1e-6, 0.0, "other outputs"),
        (lambda batch: network(batch) * torch.nan, 1e-4, "other outputs"),
        (lambda batch: network(batch)[:, :2], 1e-4, r"outputs of shape \(1, 2\)"),
    ):
        with pytest.raises(ArtifactError, match=message):
            check.same_outputs(other, network, images, tolerance)
    flops = check.count_flops(network, 32)
    with pytest.raises(ArtifactError, match="FLOPs"):
        check.same_flops(Loaded(lambda batch: network(batch), [], flops + 1), network, 32)
    weights = dict(checkpoint.weights)
    name = next(iter(weights))
    with pytest.raises(ArtifactError, match=f"other weights than the run: {name}"):
        check.equal_weights({**weights, name: weights[name] + 1e-3}, weights, "f")
    found = check.latency(network, checkpoint.stock(), images, 3).values
    assert found["batch_1"]["stock_ms"] > 0
    assert found["batch_8"]["ratio"] > 0


def test_images_are_the_runs_own_or_named_or_noise(exported, checkpoint, tmp_path):
    own = open_sample(checkpoint, None, 5)
    assert (own.kind, own.source, len(own.images)) == ("validation images of the run", "photos", 5)
    named = open_sample(checkpoint, str(exported[0] / "photos" / "train"), 50)
    assert (named.kind, len(named.images)) == ("images of --images", 3)
    with pytest.raises(DataError, match="does not exist"):
        open_sample(checkpoint, str(tmp_path / "gone"), 4)
    folder = tmp_path / "val" / "bar"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"nothing")
    trained_run(tmp_path / "run", val=str(tmp_path / "val"))
    other = open_checkpoint(RunFolder(tmp_path / "run"))
    assert len(open_sample(other, None, 2).images) == 1
    (folder / "a.png").unlink()
    noise = open_sample(other, None, 2)
    assert (noise.kind, "none of them can be read" in noise.source) == ("images of seeded noise", True)
    assert torch.equal(noise.images, open_sample(other, None, 2).images)


def test_a_missing_library_is_named(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript.*sightwords\[export\]"):
        export(ExportConfig(exported[0] / "run", out=tmp_path / "n.onnx"))
    assert list(tmp_path.iterdir()) == []


OWN_FORMAT = """
from pathlib import Path
import torch
from sightwords.exporting.check import Check, Checkpoint, Loaded

class StateDict:
    library, tolerance = "pytorch", 0.0

    def write(self, checkpoint: Checkpoint, folder: Path, name: str) -> Path:
        torch.save(dict(checkpoint.weights), folder / name)
        return folder / name

    def load(self, file: Path, checkpoint: Checkpoint) -> Loaded:
        network = checkpoint.stock(torch.load(file), file.name)
        return Loaded(network, [Check("loads", "by torch", {})])

    def snippet(self, checkpoint: Checkpoint, out: str) -> str:
        return f'import torch; weights = torch.load("{out}")'

STATE_DICT = StateDict()
"""


def test_a_format_is_one_file_and_one_line(exported, checkpoint, tmp_path, monkeypatch):
    (tmp_path / "state_dict_format.py").write_text(OWN_FORMAT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FORMATS, "state_dict", ("state_dict_format:STATE_DICT", ".pth"))
    result = export(ExportConfig(exported[0] / "run", out=tmp_path / "n.pth", num_images=2, pairs=1))
    assert result.certificate.format == "state_dict"
    scope = {}
    exec(result.snippet, scope)
    assert all(torch.equal(scope["weights"][name], value) for name, value in checkpoint.weights.items())
    assert (tmp_path / "n.pth.card.md").is_file()
