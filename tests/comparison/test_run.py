from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
import yaml

import sightwords
from sightwords.comparison.cells import Plan, jobs_of
from sightwords.comparison.record import Cell
from sightwords.errors import ArtifactError, ConfigError
from sightwords.models.run_folder import RunFolder


@pytest.fixture
def config(images, embeddings, described, tmp_path):
    return sightwords.CompareConfig(
        str(images), out=tmp_path / "comparison", embeddings=[embeddings], models=["resnet10t"], descriptions=described,
        arms=["baseline", "aligned"], seeds=1, image_size=32, epochs=2, batch_size=8, lr=3e-3, warmup_epochs=0,
        workers=0, device="cpu", knn=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Where the comparison of `config` is kept, once it has been made."""
    return tmp_path_factory.mktemp("finished") / "comparison"


@pytest.fixture
def compared(config, finished):
    """The configuration, with its finished comparison in its folder."""
    if finished.exists():
        shutil.copytree(finished, config.out)
    else:
        sightwords.compare(config)
        shutil.copytree(config.out, finished)
    return config


def touched(config):
    """Return when each training was finished."""
    return {path.parent: path.stat().st_mtime_ns for path in (config.out / "runs").rglob("finished.json")}


def test_arms_networks_conditions_and_what_is_written(config, tmp_path):
    vit = tmp_path / "small_vit.yaml"
    vit.write_text("model: vit_tiny_patch16_224\nmodel_kwargs: {depth: 1, embed_dim: 24, patch_size: 16}\nlr: 0.001\n")
    recipe = tmp_path / "recipe.yaml"
    config = replace(
        config, models=["resnet10t", str(vit)], arms=["aligned", "class_name", "shuffled"], label_noise=[0.5],
        write_recipe=recipe,
    )  # fmt: skip
    result = sightwords.compare(config)
    cells = [Cell(c, m, a, 0) for c in ("clean", "label-noise-0.5") for m in ("resnet10t", "small_vit")
             for a in ("baseline", "aligned", "class_name", "shuffled")]  # fmt: skip
    assert set(touched(config)) == {cell.folder(config.out) for cell in cells}
    table = pq.read_table(config.out / "results.parquet").to_pylist()
    assert len(table) == len(cells)
    for row in table:  # every figure is the one that the run's own evaluation wrote
        folder = Cell(row["condition"], row["model"], row["arm"], row["seed"]).folder(config.out)
        metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
        assert row["top1"] == metrics["top1"]
        assert {"ece", "knn_top1", "probe_top1"} <= row.keys()
        assert (row["mcnemar_p"] is None) == (row["arm"] == "baseline")
    effects = pq.read_table(config.out / "effects.parquet").to_pylist()
    assert {(e["model"], e["arm"]) for e in effects} == {
        (m, a) for m in ("resnet10t", "small_vit", "all models") for a in ("aligned", "class_name", "shuffled")
    }
    top1 = {(r["condition"], r["model"], r["arm"]): r["top1"] for r in table}
    one = next(e for e in effects if (e["condition"], e["model"], e["arm"]) == ("clean", "small_vit", "aligned"))
    assert one["mean"] == pytest.approx(top1["clean", "small_vit", "aligned"] - top1["clean", "small_vit", "baseline"])
    assert result.report.is_file()
    assert "Does the text help?" in result.report.read_text()
    assert "With one seed" in result.summary()
    options = yaml.safe_load(recipe.read_text())
    assert options["epochs"] == 2
    assert sightwords.TrainConfig(**_nested(options), images=config.images, out=tmp_path / "run").image_size == 32
    assert not list((config.out / "runs").rglob("*.pt"))  # checkpoints of finished trainings are gone


def _nested(options):
    parts = {"align": sightwords.AlignConfig, "augment": sightwords.AugmentConfig}
    return {name: parts[name](**value) if name in parts else value for name, value in options.items()}


def test_arms_share_seed_order_and_starting_weights(compared):
    folders = [Cell("clean", "resnet10t", arm, 0).folder(compared.out) for arm in ("baseline", "aligned")]
    runs = [RunFolder(folder).config() for folder in folders]
    differing = {name for name in runs[0] if runs[0][name] != runs[1][name]}
    assert differing == {"out", "embeddings"}


def test_finished_trainings_are_never_repeated_and_more_can_be_added(compared):
    before = touched(compared)
    sightwords.compare(replace(compared, seeds=2, arms=["baseline", "aligned", "shuffled"]))
    after = touched(compared)
    assert {folder: after[folder] for folder in before} == before
    assert len(after) == 6


def test_other_options_and_other_images_are_refused(compared, images):
    with pytest.raises(ConfigError, match="was begun otherwise: epochs was 2, is 3"):
        sightwords.compare(replace(compared, epochs=3))
    next((images / "train" / "disc").iterdir()).unlink()
    with pytest.raises(ConfigError, match="was begun otherwise: train images was"):
        sightwords.compare(compared)


def test_a_folder_of_something_else_is_refused(config):
    config.out.mkdir()
    (config.out / "thesis.tex").write_text("do not overwrite")
    with pytest.raises(ConfigError, match="holds something that is no comparison"):
        sightwords.compare(config)


def test_a_training_that_fails_is_told_and_the_others_are_kept(compared):
    folder = Cell("clean", "resnet10t", "aligned", 0).folder(compared.out)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "checkpoints").write_text("a file where a folder must be")
    with pytest.raises(ArtifactError, match=r"1 of 2 trainings failed; the others are kept(.|\n)*aligned/seed-0"):
        sightwords.compare(compared)
    (folder / "checkpoints").unlink()
    assert len(sightwords.compare(compared).analysis.records) == 2


def test_images_of_several_labels_are_compared_by_their_strongest_output(config, images, tmp_path):
    rows = [(str(path), path.parent.name, path.parent.parent.name) for path in sorted(images.rglob("*.png"))]
    rows = [(path, f"{label}|bar" if number % 2 else label, split) for number, (path, label, split) in enumerate(rows)]
    table = tmp_path / "labels.csv"
    table.write_text("image,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    result = sightwords.compare(replace(config, images=str(table), arms=["baseline", "class_name"]))
    for record in result.analysis.records:
        assert record.metrics["top1"] == record.correct.mean()
        assert "map" in record.metrics
        assert "knn_top1" not in record.metrics


def test_an_unknown_network_is_told_before_anything_is_trained(config):
    with pytest.raises(sightwords.SightwordsError, match="resnet10x"):
        sightwords.compare(replace(config, models=["resnet10t", "resnet10x"]))
    assert not (config.out / "runs").exists()


def test_two_networks_of_one_name_are_refused(config, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "small.yaml").write_text("model: resnet10t\n")
    with pytest.raises(ConfigError, match="--models names small twice"):
        sightwords.compare(replace(config, models=[str(tmp_path / f / "small.yaml") for f in ("a", "b")]))


def test_text_without_embeddings_is_an_error(config):
    with pytest.raises(ConfigError, match="The arms aligned need text"):
        replace(config, embeddings=[])


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_ends_as_if_nothing_had_happened(config, embeddings, tmp_path):
    whole = sightwords.compare(replace(config, out=tmp_path / "whole", seeds=2))
    command = [sys.executable, "-m", "sightwords", "compare", config.images, "--embeddings", embeddings, "--models"]
    command += ["resnet10t", "--arms", "baseline,aligned", "--seeds", "2", "--image-size", "32", "--epochs", "2"]
    command += ["--batch-size", "8", "--lr", "3e-3", "--warmup-epochs", "0", "--workers", "0", "--device", "cpu"]
    command += ["--knn", "3", "--out", config.out]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = Cell("clean", "resnet10t", "baseline", 0).folder(config.out)
    deadline = time.monotonic() + 120
    while not (first / "finished.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (first / "finished.json").exists()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the training process ends by itself when its parent is gone
    before = touched(config)
    assert 1 <= len(before) < 4
    result = sightwords.compare(replace(config, seeds=2))
    assert all(touched(config)[folder] == moment for folder, moment in before.items())
    for record, expected in zip(result.analysis.records, whole.analysis.records, strict=True):
        assert record.cell == expected.cell
        mine, theirs = (RunFolder(one.folder).load_weights() for one in (record, expected))
        assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_time_is_planned_and_the_plan_stays(config, capsys):
    result = sightwords.compare(replace(config, hours=0.5, seeds=2))
    plan = Plan.load(config.out / "plan.json")
    assert (plan.num_seeds, plan.epochs) == (2, 2)
    assert "Planned for 30 min 00 s: 1 networks, 2 seeds, 2 epochs" in result.summary()
    (config.out / "plan.json").write_text(json.dumps({**plan.__dict__, "num_seeds": 1}))
    again = sightwords.compare(replace(config, hours=0.5, seeds=2))
    assert len(again.analysis.records) == 2  # one seed of two arms, as the plan says


def test_too_little_time_trains_nothing(config):
    with pytest.raises(ConfigError, match="are too short"):
        sightwords.compare(replace(config, hours=1e-4))
    assert not (config.out / "runs").exists()


def test_jobs_of_several_conditions_differ_in_the_training_set_alone(config, images):
    from sightwords.images.dataset import open_dataset

    config = replace(config, train_fraction=[0.25], long_tail=[10.0], clean=False, arms=["baseline"])
    jobs = jobs_of(config, Plan(["resnet10t"], 1, 2, []), open_dataset(config))
    options = {cell.condition: (job.train.train_fraction, job.train.long_tail) for cell, job in jobs.items()}
    assert options == {"train-fraction-0.25": (0.25, 1.0), "long-tail-10": (1.0, 10.0)}


def test_with_few_labels_all_take_as_many_steps(config):
    """24 images, 6 of them with a label: the baseline and class names see these four times as often."""
    config = replace(
        config, label_fraction=[0.25], clean=False, arms=["baseline", "aligned", "class_name"], epochs=4,
        batch_size=6, warmup_epochs=1,
    )  # fmt: skip
    records = sightwords.compare(config).analysis.records
    runs = {record.cell.arm: RunFolder(record.folder) for record in records}
    assert {arm: run.metrics()[-1]["step"] for arm, run in runs.items()} == dict.fromkeys(runs, 16)
    times = {"baseline": 4, "aligned": 1, "class_name": 4}
    assert {arm: run.config()["epochs"] for arm, run in runs.items()} == {arm: 4 * n for arm, n in times.items()}
    assert {arm: run.config()["warmup_epochs"] for arm, run in runs.items()} == times


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(config, tmp_path):
    command = [sys.executable, "-m", "sightwords", "compare", config.images, "--arms", "baseline"]
    command += ["--models", "resnet10t", "--batch-size", "8", "--image-size", "32", "--epochs", "500"]
    command += ["--workers", "0", "--device", "cpu", "--out", str(config.out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = Cell("clean", "resnet10t", "baseline", 0).folder(config.out) / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 130
    assert "interrupted. Run the same command to continue" in told
    assert "Traceback" not in told
    size = log.stat().st_size
    time.sleep(2)
    assert log.stat().st_size == size  # nobody trains on
