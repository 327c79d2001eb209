"""The model card: what a network was made from, by whose license, and what was found of it."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import ModelCard

from sightwords.errors import ArtifactError
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import export as run
from sightwords.models.card import RunFacts, TextFacts
from support.trained_run import trained_run

TEXT = TextFacts(
    "builtin:minilm", "sentence-transformers/all-MiniLM-L6-v2", "abcdef" * 6, "apache-2.0",
    [{"identifier": "server:Qwen/Qwen2.5-VL-3B-Instruct", "model": "Qwen/Qwen2.5-VL-3B-Instruct", "revision": ""}],
    [{"name": "plain", "version": 1, "template": "Describe this\nimage."}], 20,
)  # fmt: skip
FACTS = RunFacts("birds", 24, 12, "timm:test_resnet.r160_in1k", "cc-by-nc-4.0", [TEXT])
RECIPE = {
    "align": {"loss": "clip", "weight": 1.0}, "epochs": 3, "batch_size": 8, "optimizer": "adamw", "lr": 0.001,
    "images": "/home/somebody/birds",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def card_of(folder, **options) -> ModelCard:
    run(ExportConfig(folder, out=folder.parent / "n.safetensors", num_images=1, pairs=1, **options))
    return ModelCard.load(folder.parent / "n.safetensors.card.md")


def write_comparison(folder):
    rows = [
        {"condition": "clean", "model": model, "arm": arm, "mean": mean, "low": mean - 0.01, "high": mean + 0.01,
         "adjusted_p": 0.02}
        for model in ("test_resnet", "all models") for arm, mean in (("aligned", 0.031), ("shuffled", -0.004))
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.json").write_text(json.dumps({"epochs": 60}))
    pq.write_table(pa.Table.from_pylist(rows), folder / "effects.parquet")
    pq.write_table(pa.table({"seed": [0, 1, 2, 0]}), folder / "results.parquet")


def test_the_card_names_every_part_with_its_license(tmp_path, capsys):
    trained_run(tmp_path / "run", facts=FACTS, **RECIPE)
    card = card_of(tmp_path / "run", license="cc-by-nc-4.0", dataset=["me/birds"], use="commercial")
    assert "qwen-research, forbids commercial use" in capsys.readouterr().err
    data = card.data
    assert (data.license, data.library_name, data.pipeline_tag) == ("cc-by-nc-4.0", "timm", "image-classification")
    assert data.datasets == ["me/birds"]
    assert {"image-classification", "sightwords", "language-supervision"} <= set(data.tags)
    assert data.eval_results[0].metric_value == 0.5
    for part in (
        "24 training and 12 validation images from birds",
        "20 images described by server:Qwen/Qwen2.5-VL-3B-Instruct",
        "Prompt `plain`: Describe this image.",
        "Encoder: builtin:minilm (sentence-transformers/all-MiniLM-L6-v2, revision abcdefabcdef, license apache-2.0)",
        "| describer | server:Qwen/Qwen2.5-VL-3B-Instruct | qwen-research | forbidden | the table of licenses |",
        "| starting weights | timm:test_resnet.r160_in1k | cc-by-nc-4.0 | forbidden | what it carries with it |",
        "| images | birds | not known to sightwords | unknown |  |",
        "No comparison with a network trained without text",
        "same outputs",
    ):
        assert part in card.text
    assert "somebody" not in card.content  # folders of this machine are nobody's business


def test_arms_and_intervals_are_shown_of_the_comparison_that_is_named_or_that_the_run_is_part_of(tmp_path):
    inside = tmp_path / "comparison" / "runs" / "clean" / "test_resnet" / "aligned" / "seed-0"
    write_comparison(tmp_path / "comparison")
    for folder, options in ((inside, {}), (tmp_path / "run", {"comparison": tmp_path / "comparison"})):
        trained_run(folder, facts=FACTS, **RECIPE)
        text = card_of(folder, **options).text
        assert "| clean | test_resnet | aligned | +3.1 | +2.1 to +4.1 | 0.02 |" in text
        assert "| clean | test_resnet | shuffled | -0.4 | -1.4 to +0.6 |" in text
        assert "3 trainings of 60 epochs" in text
        assert "all models" not in text  # of one network it says the same again


def test_what_is_no_comparison_is_refused(tmp_path):
    trained_run(tmp_path / "run", facts=FACTS, **RECIPE)
    with pytest.raises(ArtifactError, match="not a finished comparison"):
        card_of(tmp_path / "run", comparison=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
