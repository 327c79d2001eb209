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
from sightwords.images.dataset import open_dataset
from sightwords.models.run_folder import RunFolder

CELLS = [Cell("clean", "test_resnet", arm, 0) for arm in ("baseline", "aligned")]


@pytest.fixture
def config(images, embeddings, described, tmp_path):
    return sightwords.CompareConfig(
        str(images), out=tmp_path / "comparison", embeddings=[embeddings], models=["test_resnet"], seeds=1,
        descriptions=described, arms=["baseline", "aligned"], image_size=32, epochs=2, batch_size=8, lr=3e-3,
        warmup_epochs=0, workers=0, device="cpu", knn=3,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Where the comparison of `compared` is kept, once it has been made."""
    return tmp_path_factory.mktemp("shared") / "comparison"


@pytest.fixture
def compared(config, shared):
    """A configuration of two networks and two conditions, with the finished comparison in its folder."""
    vit = shared.with_name("small_vit.yaml")
    vit.write_text("model: vit_tiny_patch16_224\nmodel_kwargs: {depth: 1, embed_dim: 24, patch_size: 16}\nlr: 0.001\n")
    config = replace(config, models=["test_resnet", str(vit)], arms=["aligned"], label_noise=[0.5])
    if not shared.exists():
        sightwords.compare(replace(config, out=shared))
    shutil.copytree(shared, config.out)
    return config


@pytest.fixture
def no_plots(monkeypatch):
    """Leave out the page and its plots, which take seconds and are looked at in one test."""
    monkeypatch.setattr("sightwords.comparison.run.write_report", lambda out, data: out / "report.html")


@pytest.fixture
def part(compared, config, no_plots):
    """The configuration of one network and one condition of it."""
    return config


def touched(config):
    """Return when each training was finished."""
    return {path.parent: path.stat().st_mtime_ns for path in (config.out / "runs").rglob("finished.json")}


def test_arms_networks_conditions_and_what_is_written(compared, tmp_path):
    result = sightwords.compare(compared)
    cells = [Cell(c, m, a, 0) for c in ("clean", "label-noise-0.5") for m in ("test_resnet", "small_vit")
             for a in ("baseline", "aligned")]  # fmt: skip
    assert set(touched(compared)) == {cell.folder(compared.out) for cell in cells}
    table = pq.read_table(compared.out / "results.parquet").to_pylist()
    assert len(table) == len(cells)
    for row in table:  # every figure is the one that the run's own evaluation wrote
        folder = Cell(row["condition"], row["model"], row["arm"], row["seed"]).folder(compared.out)
        metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
        assert row["top1"] == metrics["top1"]
        assert {"ece", "knn_top1", "probe_top1"} <= row.keys()
        assert (row["mcnemar_p"] is None) == (row["arm"] == "baseline")
    effects = pq.read_table(compared.out / "effects.parquet").to_pylist()
    assert [e["model"] for e in effects] == ["test_resnet", "small_vit", "all models"] * 2
    top1 = {(r["condition"], r["model"], r["arm"]): r["top1"] for r in table}
    one = next(e for e in effects if (e["condition"], e["model"]) == ("clean", "small_vit"))
    assert one["mean"] == pytest.approx(top1["clean", "small_vit", "aligned"] - top1["clean", "small_vit", "baseline"])
    page = result.report.read_text()
    assert "Does the text help?" in page
    assert "What the text says" in page
    assert "With one seed" in result.summary()
    options = yaml.safe_load((compared.out / "recipe.yaml").read_text())
    assert options["epochs"] == 2
    assert sightwords.TrainConfig(**_nested(options), images=compared.images, out=tmp_path / "run").image_size == 32
    assert not list((compared.out / "runs").rglob("*.pt"))  # checkpoints of finished trainings are gone


def _nested(options):
    parts = {"align": sightwords.AlignConfig, "augment": sightwords.AugmentConfig}
    return {name: parts[name](**value) if name in parts else value for name, value in options.items()}


def test_arms_share_seed_order_and_starting_weights(part):
    runs = [RunFolder(cell.folder(part.out)).config() for cell in CELLS]
    assert {name for name in runs[0] if runs[0][name] != runs[1][name]} == {"out", "embeddings"}


def test_finished_trainings_are_never_repeated_and_more_can_be_added(part):
    before = touched(part)
    result = sightwords.compare(replace(part, seeds=2, arms=["baseline", "shuffled"]))
    after = touched(part)
    assert {folder: after[folder] for folder in before} == before
    assert len(after) == len(before) + 3
    assert {record.cell.seed for record in result.analysis.records} == {0, 1}


def test_other_options_and_other_images_are_refused(part, images, tmp_path):
    with pytest.raises(ConfigError, match="was begun otherwise: epochs was 2, is 3"):
        sightwords.compare(replace(part, epochs=3))
    shutil.copytree(images, tmp_path / "fewer")
    next((tmp_path / "fewer" / "train" / "disc").iterdir()).unlink()
    with pytest.raises(ConfigError, match="was begun otherwise: train images was"):
        sightwords.compare(replace(part, images=str(tmp_path / "fewer")))


def test_a_folder_of_something_else_is_refused(config):
    config.out.mkdir()
    (config.out / "thesis.tex").write_text("do not overwrite")
    with pytest.raises(ConfigError, match="holds something that is not a comparison"):
        sightwords.compare(config)


def test_a_training_that_fails_is_named_and_the_others_are_kept(part):
    folder = CELLS[1].folder(part.out)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "checkpoints").write_text("a file where a folder must be")
    with pytest.raises(ArtifactError, match=r"1 of 2 trainings failed; the others are kept(.|\n)*aligned/seed-0"):
        sightwords.compare(part)
    (folder / "checkpoints").unlink()
    assert len(sightwords.compare(part).analysis.records) == 2


def test_images_of_several_labels_are_compared_by_their_strongest_output(config, images, tmp_path, no_plots):
    rows = [(str(path), path.parent.name, path.parent.parent.name) for path in sorted(images.rglob("*.png"))]
    rows = [(path, f"{label}|bar" if number % 2 else label, split) for number, (path, label, split) in enumerate(rows)]
    table = tmp_path / "labels.csv"
    table.write_text("image,label,split\n" + "".join(",".join(row) + "\n" for row in rows))
    result = sightwords.compare(replace(config, images=str(table), arms=["baseline", "class_name"], epochs=1))
    for record in result.analysis.records:
        assert record.metrics["top1"] == record.correct.mean()
        assert "map" in record.metrics
        assert "knn_top1" not in record.metrics


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embeddings": []}, "The arms aligned need text"),
        ({"models": []}, "--models is empty"),
        ({"seeds": 0}, "--seeds is 0"),
        ({"train_fraction": [0.5, 1.5]}, r"--train-fraction is 1\.5"),
        ({"clean": False}, "--no-clean leaves nothing"),
    ],
)
def test_options_that_do_not_fit_are_errors(config, options, message):
    with pytest.raises(ConfigError, match=message):
        replace(config, **options)


def test_networks_are_checked_before_anything_is_trained(config, tmp_path):
    with pytest.raises(sightwords.SightwordsError, match="resnet10x"):
        sightwords.compare(replace(config, models=["test_resnet", "resnet10x"]))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "small.yaml").write_text("model: test_resnet\n")
    with pytest.raises(ConfigError, match="--models names small twice"):
        sightwords.compare(replace(config, models=[str(tmp_path / f / "small.yaml") for f in ("a", "b")]))
    assert not (config.out / "runs").exists()


def _started(config, *more):
    """Start a comparison of `config` by the command line; its standard error ends when its last process has."""
    command = [sys.executable, "-m", "sightwords", "compare", config.images, "--models", "test_resnet", "--seeds", 1]
    command += ["--image-size", 32, "--batch-size", 8, "--lr", 3e-3, "--warmup-epochs", 0, "--workers", 0, "--knn", 3]
    command = [str(part) for part in (*command, "--device", "cpu", "--out", config.out, *more)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _wait_for(path, process):
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_comparison_goes_on_and_ends_as_if_nothing_had_happened(part, compared, embeddings, tmp_path):
    config = replace(part, out=tmp_path / "killed")
    process = _started(config, "--embeddings", embeddings, "--arms", "baseline,aligned", "--epochs", 2)
    _wait_for(CELLS[0].folder(config.out) / "finished.json", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)  # the training process ends by itself when its parent is gone
    before = touched(config)
    assert list(before) == [CELLS[0].folder(config.out)]
    sightwords.compare(config)
    assert {folder: touched(config)[folder] for folder in before} == before
    for cell in CELLS:
        mine, expected = (RunFolder(cell.folder(root)).load_weights() for root in (config.out, compared.out))
        assert all(torch.equal(mine[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_leaves_no_process(config):
    process = _started(config, "--arms", "baseline", "--epochs", 500)
    _wait_for(CELLS[0].folder(config.out) / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert "interrupted. Run the same command to continue" in log
    assert "Traceback" not in log


def test_time_is_planned_and_the_plan_stays(part):
    result = sightwords.compare(replace(part, hours=0.5))
    plan = Plan.load(part.out / "plan.json")
    assert (plan.num_seeds, plan.epochs) == (1, 2)
    assert "Planned for 30 min 00 s: 1 networks, 1 seeds, 2 epochs" in result.summary()
    again = sightwords.compare(replace(part, hours=0.5, seeds=2))
    assert len(again.analysis.records) == 2  # one seed of two arms, as the plan says


def test_too_little_time_trains_nothing(config):
    with pytest.raises(ConfigError, match="are too short"):
        sightwords.compare(replace(config, hours=1e-6))
    assert not (config.out / "runs").exists()


def test_jobs_of_several_conditions_differ_in_the_training_set_alone(config):
    config = replace(config, train_fraction=[0.25], long_tail=[10.0], clean=False, arms=["baseline"])
    jobs = jobs_of(config, Plan(["test_resnet"], 1, 2, []), open_dataset(config))
    options = {cell.condition: (job.train.train_fraction, job.train.long_tail) for cell, job in jobs.items()}
    assert options == {"train-fraction-0.25": (0.25, 1.0), "long-tail-10": (1.0, 10.0)}


def test_with_few_labels_all_take_as_many_steps(config, no_plots):
    """24 images, 6 of them with a label: the baseline and class names see these four times as often."""
    config = replace(
        config, label_fraction=[0.25], clean=False, arms=["baseline", "aligned", "class_name"], epochs=2, batch_size=6,
        warmup_epochs=1,
    )  # fmt: skip
    records = sightwords.compare(config).analysis.records
    runs = {record.cell.arm: RunFolder(record.folder) for record in records}
    assert {arm: run.metrics()[-1]["step"] for arm, run in runs.items()} == dict.fromkeys(runs, 8)
    times = {"baseline": 4, "aligned": 1, "class_name": 4}
    assert {arm: run.config()["epochs"] for arm, run in runs.items()} == {arm: 2 * n for arm, n in times.items()}
    assert {arm: run.config()["warmup_epochs"] for arm, run in runs.items()} == times
