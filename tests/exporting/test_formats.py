"""What every format carries, and that each certificate rests on checks that can fail."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from PIL import Image

from sightwords.errors import ArtifactError, DataError, MissingExtraError
from sightwords.exporting import check
from sightwords.exporting.checkpoint import open_subject
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import export as run
from sightwords.exporting.sample import open_sample
from sightwords.models.onnx_file import check_onnx, count_flops
from sightwords.models.run_folder import RunFolder
from support.trained_run import trained_run


def checks(result):
    return {one.name: one for one in result.certificate.checks}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["timm", "onnx", "torch_export", "hub"])
def test_every_format_has_its_certificate_and_card(programs, format):
    folder, results = programs
    result = results[format]
    beside = folder / "hub" if format == "hub" else folder
    stem = "" if format == "hub" else f"{result.out.name}."
    written = json.loads((beside / f"{stem}certificate.json").read_text())
    assert [one["name"] for one in written["checks"]] == list(checks(result))
    assert {"loads", "same graph", "same FLOPs", "same outputs", "latency"} <= set(checks(result))
    assert written["images"] == {"kind": "validation images of the run", "source": "photos", "num_images": 12}
    assert (beside / ("README.md" if format == "hub" else f"{stem}card.md")).is_file()
    assert checks(result)["same FLOPs"].values["flops"] == checks(result)["same FLOPs"].values["stock_flops"] > 1e6
    outputs = checks(result)["same outputs"].values
    assert outputs["batch_sizes"] == [1, 2, 5, 12]
    assert outputs["largest_difference"] <= outputs["tolerance"]
    assert outputs["bit_equal"] or format == "onnx"
    assert "Verified with 12 validation images" in result.summary()


@pytest.mark.slow
def test_onnx_is_one_file_that_onnxruntime_alone_can_use(programs):
    folder, _ = programs
    session = onnxruntime.InferenceSession(folder / "n.onnx", providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["label_names"]) == ["bar", "disc", "square"]
    assert json.loads(metadata["input_size"]) == [3, 32, 32]
    assert {"mean", "std", "crop_pct", "interpolation", "multi_label"} <= metadata.keys()
    subject = open_subject(RunFolder(folder / "run"))
    images = torch.rand(7, 3, 32, 32)
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, subject.network(images).numpy(), atol=1e-4)
    assert b"site-packages" not in (folder / "n.onnx").read_bytes()


@pytest.mark.slow
def test_a_torch_program_carries_the_configuration(programs):
    folder, _ = programs
    files = {"config.json": ""}
    network = torch.export.load(folder / "n.pt2", extra_files=files).module()
    assert json.loads(files["config.json"])["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    assert network(torch.rand(3, 3, 32, 32)).shape == (3, 3)
    assert b"site-packages" not in (folder / "n.pt2").read_bytes()


def test_timm_reads_the_hub_folder_with_its_preprocessing_and_classes(exported):
    folder, results = exported
    network = timm.create_model(f"local-dir:{folder / 'hub'}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network, use_test_size=True)
    info = RunFolder(folder / "run").network()
    assert (config["input_size"], config["interpolation"], config["crop_pct"]) == (
        (3, 32, 32), info.interpolation, info.crop_pct,
    )  # fmt: skip
    assert network.pretrained_cfg["label_names"] == ["bar", "disc", "square"]
    assert "license" not in network.pretrained_cfg  # that of timm's own weights is not that of these
    subject = open_subject(RunFolder(folder / "run"))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), subject.network(images))
    scope = {}
    exec(results["hub"].snippet, scope)
    assert scope["transform"](Image.new("RGB", (50, 60))).shape == (3, 32, 32)


@pytest.mark.slow
def test_a_damaged_onnx_file_does_not_pass(programs, tmp_path):
    folder, _ = programs
    model = onnx.load(folder / "n.onnx")
    model.graph.node[0].input[0] = "nowhere"
    onnx.save(model, tmp_path / "bad.onnx")
    with pytest.raises(ArtifactError, match="ONNX's checker refuses"):
        check_onnx(tmp_path / "bad.onnx")
    model = onnx.load(folder / "n.onnx")
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.remove(conv)
    onnx.save(model, tmp_path / "less.onnx")
    assert count_flops(tmp_path / "less.onnx") != count_flops(folder / "n.onnx")


@pytest.mark.slow
def test_an_export_that_answers_otherwise_leaves_nothing(exported, tmp_path, monkeypatch):
    """The writer is made to lose a little of one weight: every format's check must see it."""
    from sightwords.exporting.formats import hub, onnx, program

    def spoiled(stock, weights, where):
        changed = dict(weights)
        if "model.safetensors" in where:  # when it is written, not when it is checked
            changed = {name: value + 1e-2 if value.is_floating_point() else value for name, value in weights.items()}
        stock.load_state_dict(changed)

    for module, name in ((hub, "hub"), (onnx, "n.onnx"), (program, "n.pt2")):
        monkeypatch.setattr(module, "load_strictly", spoiled)
        config = ExportConfig(exported[0] / "run", out=tmp_path / name, format="hub" if name == "hub" else None)
        with pytest.raises(ArtifactError, match=r"answers otherwise|other weights"):
            run(config)
        assert list(tmp_path.iterdir()) == []


def test_the_graph_must_be_the_stock_one(exported):
    subject = open_subject(RunFolder(exported[0] / "run"))
    found = check.same_graph(subject.network, subject.stock())
    assert found.values["num_parameters"] == sum(p.numel() for p in subject.network.parameters())
    changed = subject.stock()
    changed.fc = torch.nn.Sequential(torch.nn.Dropout(0.1), changed.fc)
    with pytest.raises(ArtifactError, match="a module differs"):
        check.same_graph(changed, subject.stock())
    wider = timm.create_model("test_resnet", num_classes=4)
    with pytest.raises(ArtifactError, match="a tensor differs"):
        check.same_graph(wider, subject.stock())


def test_outputs_weights_and_flops_are_compared(exported):
    subject = open_subject(RunFolder(exported[0] / "run"))
    images = torch.rand(3, 3, 32, 32)
    assert check.same_outputs(subject.network, subject.network, images, 0.0).values["bit_equal"]
    with pytest.raises(ArtifactError, match="answers otherwise"):
        check.same_outputs(lambda batch: subject.network(batch) + 1e-6, subject.network, images, 0.0)
    assert check.same_outputs(lambda batch: subject.network(batch) + 1e-6, subject.network, images, 1e-4)
    with pytest.raises(ArtifactError, match="answers otherwise"):
        check.same_outputs(lambda batch: subject.network(batch) * torch.nan, subject.network, images, 1e-4)
    with pytest.raises(ArtifactError, match=r"1 images give outputs of shape \(1, 2\)"):
        check.same_outputs(lambda batch: subject.network(batch)[:, :2], subject.network, images, 1e-4)
    flops = check.count_flops(subject.stock(), 32)
    with pytest.raises(ArtifactError, match="FLOPs"):
        check.same_flops(flops + 1, subject.stock(), 32)
    weights = dict(subject.weights)
    name = next(iter(weights))
    with pytest.raises(ArtifactError, match=f"other weights than the run: {name}"):
        check.equal_weights({**weights, name: weights[name] + 1e-3}, weights, "f")


def test_latency_is_told_for_both(exported):
    subject = open_subject(RunFolder(exported[0] / "run"))
    found = check.latency(subject.network, subject.stock(), torch.rand(2, 3, 32, 32), 3).values
    assert found["batch_1"]["stock_ms"] > 0
    assert 0.1 < found["batch_8"]["ratio"] < 10


def test_images_are_the_runs_own_or_named_or_noise(exported, tmp_path):
    folder, _ = exported
    info = RunFolder(folder / "run").network()
    config = {"images": str(folder / "photos")}
    own = open_sample(info, config, None, 5)
    assert (own.kind, own.source, len(own.images)) == ("validation images of the run", "photos", 5)
    named = open_sample(info, {"images": "gone"}, str(folder / "photos" / "train"), 50)
    assert (named.kind, len(named.images)) == ("images that were named", 3)
    noise = open_sample(info, {"images": str(tmp_path / "gone")}, None, 4)
    assert noise.kind == "seeded noise"
    assert "gone does not exist" in noise.source
    assert torch.equal(noise.images, open_sample(info, {}, None, 4).images)
    with pytest.raises(DataError, match="does not exist"):
        open_sample(info, config, str(tmp_path / "gone"), 4)


def test_unreadable_images_are_passed_over(exported, tmp_path):
    info = RunFolder(exported[0] / "run").network()
    folder = tmp_path / "val" / "bar"
    folder.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"nothing")
    assert len(open_sample(info, {"val": str(tmp_path / "val")}, None, 2).images) == 1
    (folder / "a.png").unlink()
    assert open_sample(info, {"val": str(tmp_path / "val")}, None, 2).kind == "seeded noise"


def test_a_missing_library_is_named(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript is not installed.*sightwords\[export\]"):
        run(ExportConfig(exported[0] / "run", out=tmp_path / "n.onnx"))
    assert list(tmp_path.iterdir()) == []


def test_two_exports_of_one_name_do_not_share_a_certificate(tmp_path):
    trained_run(tmp_path / "run")
    for _ in range(2):
        run(ExportConfig(tmp_path / "run", out=tmp_path / "n.safetensors", num_images=1, pairs=1))
    assert {path.name for path in tmp_path.iterdir()} == {
        "run", "n.safetensors", "n.json", "n.safetensors.certificate.json", "n.safetensors.card.md",
    }  # fmt: skip
