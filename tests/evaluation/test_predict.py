from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.evaluation.config import PredictConfig
from sightwords.evaluation.predict import predict as run
from sightwords.images.decode import EncodedImage
from sightwords.models.inference import TrainedNetwork, eval_transform
from sightwords.models.run_folder import RunFolder
from support.trained_run import trained_run


def test_unreadable_images_are_named_and_the_others_go_on(exported, tmp_path):
    folder, _ = exported
    (tmp_path / "broken.png").write_bytes(b"nothing")
    good = folder / "photos" / "val" / "bar" / "000.png"
    (tmp_path / "t.csv").write_text(f"image\n{good}\n")
    images = [str(tmp_path / "broken.png"), str(good), str(tmp_path / "gone.png"), str(tmp_path / "t.csv")]
    result = run(PredictConfig(folder / "run", images, out=tmp_path / "p.jsonl", batch_size=1, workers=0))
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [*images[:3], str(good)]  # in the order they were named
    assert "not an image" in lines[0]["error"]
    assert len(lines[1]["predictions"]) == 3
    assert "No such file" in lines[2]["error"]
    assert lines[3]["predictions"] == lines[1]["predictions"]
    assert (result.num_images, len(result.unreadable)) == (2, 2)
    assert "2 images could not be read" in result.summary()
    assert f"{good}: " in result.summary()


def test_where_no_image_can_be_read_nothing_is_written(exported, tmp_path):
    with pytest.raises(DataError, match="None of the 1 images can be read"):
        run(PredictConfig(exported[0] / "run", "gone.png", out=tmp_path / "p.csv", workers=0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="No image found below"):
        run(PredictConfig(exported[0] / "run", str(tmp_path / "empty"), out=tmp_path / "p.csv", workers=0))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_of_several_labels_each_class_has_a_probability_of_its_own(tmp_path):
    trained_run(tmp_path / "run", multi_label=True)
    Image.new("RGB", (32, 32), (200, 10, 10)).save(tmp_path / "a.png")
    result = run(PredictConfig(tmp_path / "run", str(tmp_path / "a.png"), workers=0))
    network = TrainedNetwork(RunFolder(tmp_path / "run"), "cpu")
    pixels = eval_transform(network.info)(EncodedImage((tmp_path / "a.png").read_bytes()), 0, "")[None]
    wanted = network(pixels)[1].sigmoid()[0]
    scores = [one.probability for one in result.predictions[0].classes]
    assert scores == pytest.approx(sorted(wanted.tolist(), reverse=True), abs=1e-6)
    assert abs(sum(scores) - 1) > 0.01
    assert "probability of its own" in result.summary()


def test_many_images_are_counted_and_few_are_shown(exported, tmp_path):
    for i in range(45):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"{i:02d}.png")
    result = run(PredictConfig(exported[0] / "run", [str(tmp_path)], top=2, workers=1))
    assert result.num_images == 45
    assert len(result.predictions) == 40
    assert len(result.predictions[0].classes) == 2
    assert "and 5 more images, not shown" in result.summary()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder, to: to / "gone.onnx", "There is no "),
        (lambda folder, to: shutil.copy(folder / "n.json", to / "n.bin"), "no known format"),
        (lambda folder, to: shutil.copy(folder / "n.safetensors", to / "m.safetensors"), "m.json is missing"),
        (lambda folder, to: folder / "photos", "neither a run nor a hub folder"),
        (lambda folder, to: shutil.copy(folder / "n.json", to / "n.onnx"), "not an ONNX file"),
        (lambda folder, to: shutil.copy(folder / "n.json", to / "n.pt2"), "not a program of torch.export"),
    ],
)
def test_what_is_no_model_is_refused(exported, tmp_path, make, message):
    with pytest.raises(ArtifactError, match=message):
        run(PredictConfig(make(exported[0], tmp_path), "a.png", workers=0))


def test_weights_without_their_own_description_are_refused(exported, tmp_path):
    folder, _ = exported
    shutil.copy(folder / "n.safetensors", tmp_path)
    for text, message in (
        ('{"architecture": "test_resnet"}', "does not say what network"),
        ((folder / "n.json").read_text().replace("timm:test_resnet", "timm:test_vit"), "do not fit timm:test_vit"),
    ):
        (tmp_path / "n.json").write_text(text)
        with pytest.raises(ArtifactError, match=message):
            run(PredictConfig(tmp_path / "n.safetensors", "a.png", workers=0))


def test_options_are_checked():
    for options in ({"out": "p.txt"}, {"top": 0}, {"batch_size": 0}):
        with pytest.raises(ConfigError, match=f"--{next(iter(options)).replace('_', '-')} is"):
            PredictConfig("run", "a.png", **options)
    with pytest.raises(ConfigError, match="No images"):
        PredictConfig("run", [])
