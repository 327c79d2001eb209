"""Whole trainings on small drawn images: exact resumption, several processes, every option once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sightwords.errors import ArtifactError, ConfigError, DataError, UnknownNameError
from sightwords.files import cache_folder
from sightwords.images.config import AugmentConfig, ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.models import build_backbone
from sightwords.models.run_folder import RunFolder
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.optim import build_optimizer
from sightwords.training.run import plain_options
from sightwords.training.run import train as run
from sightwords.training.task import Task
from support.images import write_class_folders
from support.texts import write_vectors
from support.trainings import Trainings, killed_at, metrics, small_training

VIT = {"depth": 1, "embed_dim": 32, "num_heads": 2, "patch_size": 8}


def config_of(images, folder):
    """An aligned training of a few seconds with everything that draws random numbers."""
    train_set = open_dataset(ImagesConfig(str(images)), show=False).split("train")
    return small_training(
        images, folder / "run", embeddings=write_vectors(folder / "E", train_set, leave_out=2, per_image=2),
        model="vit_tiny_patch16_224", model_kwargs={**VIT, "proj_drop_rate": 0.2}, epochs=3, warmup_epochs=1, ema=0.9,
        clip_grad=1.0, augment=AugmentConfig(randaugment=1, mixup=0.4, cutmix=1.0, erase=0.3), checkpoint_every=2,
    )  # fmt: skip


@pytest.fixture
def config(images, tmp_path):
    return config_of(images, tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished training, which tests must not change."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTWORDS_CACHE", str(folder / "cache"))
        config = config_of(write_class_folders(folder / "images", num_train=8, num_val=4), folder)
        assert run(config).warnings == []
    return config


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it, to be resumed."""
    shutil.copytree(finished.out, tmp_path / "run")
    return replace(finished, out=tmp_path / "run", resume=True)


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Trainings in processes of their own."""
    with Trainings(tmp_path_factory.mktemp("trainings")) as started:
        yield started


def weights(config):
    return load_file(config.out / "model.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_close(one, other, rtol, atol):
    for name, tensor in weights(one).items():
        torch.testing.assert_close(weights(other)[name], tensor, rtol=rtol, atol=atol)


@pytest.mark.parametrize("step", [1, 4, 6, 8])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(finished, tmp_path, step):
    again = replace(finished, out=tmp_path / "again")
    with killed_at(step):
        run(again)
    run(replace(again, resume=True, workers=1))
    assert equal(weights(finished), weights(again))
    assert metrics(finished) == metrics(again)
    ends = [RunFolder(c.out).load_checkpoint() for c in (finished, again)]
    assert equal(ends[0]["task"], ends[1]["task"])
    assert equal(ends[0]["ema"], ends[1]["ema"])


def test_a_run_with_an_image_cache_is_resumed_exactly_also_where_the_cache_is_gone(config, tmp_path):
    config = replace(config, image_size=16, cache_gb=0.01)
    run(config)
    assert list((cache_folder() / "pixels").glob("*.pixels"))
    again = replace(config, out=tmp_path / "again")
    with killed_at(4):
        run(again)
    shutil.rmtree(cache_folder() / "pixels")
    with pytest.raises(ArtifactError, match="cache_gb was True, is False"):
        run(replace(again, resume=True, cache_gb=0.0))
    run(replace(again, resume=True, workers=1, cache_gb=0.00001))
    assert equal(weights(config), weights(again))
    assert metrics(config) == metrics(again)


@pytest.mark.parametrize(("name", "fused"), [("adamw", True), ("lamb", False)])
def test_parameters_are_updated_in_one_kernel_where_torch_has_one(name, fused):
    task = Task(build_backbone("test_resnet", 3, 32), pad_to=8)
    groups = build_optimizer(task, TrainConfig("x", out="y", optimizer=name)).param_groups
    assert all(bool(group.get("fused")) == fused for group in groups)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("align", "accumulate"),
    [
        ({"loss": "cosine"}, 2),
        ({"loss": "clip", "weighting": "gradient_balanced", "weight": 0.5, "descriptions": "all"}, 1),
        ({"loss": "soft_label_clip", "grad_cache": True, "layers": ["blocks.0"], "targets": "centered"}, 2),
    ],
    ids=["cosine in parts, labels corrected", "balanced, several texts", "layers, cached"],
)
def test_two_processes_train_what_one_trains(config, trainings, tmp_path, align, accumulate):
    """No dropout or drop path here: their masks are drawn by each process for its own images."""
    config = replace(
        config, model_kwargs=VIT, align=AlignConfig(**align, projector="linear"), optimizer="sgd", lr=0.05,
        clip_grad=None, accumulate=accumulate,
        label_noise_correction=0.3 if align["loss"] == "cosine" else 0.0,
    )  # fmt: skip
    victim = sorted((tmp_path / "images" / "train" / "disc").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:90])  # an unreadable image makes the processes' parts uneven
    run(config)
    two = replace(config, out=tmp_path / "two")
    assert trainings.train(two, world_size=2)[0] == {0}, trainings.errors()
    assert_close(config, two, rtol=1e-4, atol=1e-5)
    for a, b in zip(metrics(config), metrics(two), strict=True):
        assert b["val_top1"] == pytest.approx(a["val_top1"], abs=1e-6)
        assert b["train_classification_loss"] == pytest.approx(a["train_classification_loss"], rel=1e-4)


@pytest.mark.slow
def test_torchrun_starts_the_processes(config, tmp_path):
    config = replace(config, epochs=1, model_kwargs=VIT, optimizer="sgd")
    run(config)
    options = {name: value for name, value in plain_options(config).items() if name != "images"}
    (tmp_path / "recipe.yaml").write_text(json.dumps({**options, "out": str(tmp_path / "torchrun")}))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sightwords", "--config"]
    subprocess.run(
        [sys.executable, *launch, str(tmp_path / "recipe.yaml"), "train", config.images], check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert_close(config, replace(config, out=tmp_path / "torchrun"), rtol=1e-4, atol=1e-5)


def test_accumulated_micro_batches_give_the_whole_batch_without_text(config, tmp_path):
    plain = replace(config, embeddings=None, model_kwargs=VIT)
    run(plain)
    parts = replace(plain, out=tmp_path / "parts", accumulate=2)
    run(parts)
    assert_close(plain, parts, rtol=1e-4, atol=1e-5)
    assert "train_align_loss" not in metrics(plain)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "centered_clip", "weighting": "gradient_balanced", "weight": 0.5, "schedule": "linear"},
        {"loss": "sigmoid", "descriptions": "all", "targets": "whitened", "learn_temperature": True},
        {"loss": "class_mean", "descriptions": "mean", "targets": "centered"},
        {"loss": "soft_label_clip", "layers": ["blocks.0", "patch_embed"], "layer_weight": 0.3},
        {"loss": "relational", "projector": "linear", "schedule": "jump", "jump_at": 0.4, "final_weight": 2.0},
    ],
    ids=lambda options: options["loss"],
)
def test_every_option_of_the_alignment(config, tmp_path, options):
    """Two encoders side by side learn, in micro-batches, and the figures say so."""
    train_set = open_dataset(ImagesConfig(config.images), show=False).split("train")
    second = write_vectors(tmp_path / "E2", train_set, dimension=5)
    align = AlignConfig(**options, encoder_weights=[1.0, 0.5])
    config = replace(config, embeddings=[*config.embeddings, second], align=align, accumulate=2, epochs=2)
    run(config)
    state = RunFolder(config.out).load_checkpoint()["task"]
    assert {name.split(".")[2] for name in state if name.startswith("alignment.heads.")} == {"0", "1"}
    factors = [record["train_align_factor"] for record in metrics(config)]
    assert all(factor > 0 for factor in factors)
    assert (align.schedule == "constant" and align.weighting == "fixed") == (factors[0] == factors[1])


def test_options_of_the_alignment_that_do_not_fit_are_refused(config, tmp_path):
    with pytest.raises(ConfigError, match="tokens needs word counts.*--encoder builtin:words"):
        run(replace(config, align=AlignConfig(loss="tokens")))
    with pytest.raises(ConfigError, match="has 2 numbers for 1 embedding sets"):
        replace(config, align=AlignConfig(encoder_weights=[1, 2]))
    with pytest.raises(ConfigError, match="--align.weight is 1.5; it must be at least 0 and at most 1"):
        AlignConfig(weight=1.5, weighting="gradient_balanced")
    with pytest.raises(ConfigError, match="--align.grad-cache works only with --align.weighting fixed"):
        AlignConfig(weighting="gradient_balanced", grad_cache=True)
    with pytest.raises(ConfigError, match="--compile does not work with --align.weighting gradient_balanced"):
        replace(config, compile=True, align=AlignConfig(weight=0.5, weighting="gradient_balanced"))
    val = open_dataset(ImagesConfig(config.images), show=False).split("val")
    with pytest.raises(ArtifactError, match="None of the 24 training images has a description"):
        run(replace(config, embeddings=write_vectors(tmp_path / "other", val)))
    with pytest.raises(UnknownNameError, match="Unknown module 'block.0'. Did you mean: blocks.0"):
        run(replace(config, align=AlignConfig(layers=["block.0"])))
    assert not config.out.exists()


@pytest.mark.parametrize("align", [{}, {"grad_cache": True}, {"weighting": "gradient_balanced", "weight": 0.5}])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_trains(config, tmp_path, precision, align):
    config = replace(config, epochs=1, accumulate=2, model_kwargs=VIT, align=AlignConfig(**align))
    run(config)
    lower = replace(config, precision=precision, out=tmp_path / "lower")
    run(lower)
    assert {tensor.dtype for tensor in weights(lower).values()} == {torch.float32}
    for name in ("train_align_loss", "train_classification_loss"):
        assert metrics(lower)[0][name] == pytest.approx(metrics(config)[0][name], rel=0.02)


def test_channels_last_changes_no_more_than_rounding(config, tmp_path):
    convolutional = replace(config, model="test_resnet", model_kwargs={}, epochs=1, channels_last=True)
    run(convolutional)
    plain = replace(convolutional, out=tmp_path / "plain", channels_last=False)
    run(plain)
    assert_close(plain, convolutional, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_compiled_training(config, tmp_path, monkeypatch):
    seen, compile_ = [], torch.nn.Module.compile

    def without_code_generation(self):  # torch's own last step, which takes a minute
        seen.append(type(self))
        compile_(self, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", without_code_generation)
    run(replace(config, epochs=1, compile=True, model_kwargs=VIT))
    assert seen == [Task]
    plain = replace(config, epochs=1, out=tmp_path / "plain", model_kwargs=VIT)
    run(plain)
    assert_close(plain, config, rtol=1e-3, atol=1e-4)


def test_multi_label_training(images, tmp_path):
    rows = [f"{p.relative_to(images)},{p.parent.name}|{'even' if i % 2 else 'odd'},{p.parent.parent.name}"
            for i, p in enumerate(sorted(images.rglob("*.png")))]  # fmt: skip
    (images / "table.csv").write_text("image,label,split\n" + "\n".join(rows))
    config = small_training(images / "table.csv", tmp_path / "run", epochs=1)
    run(config)
    assert RunFolder(config.out).network().multi_label
    assert RunFolder(config.out).network().class_ids == ["bar", "disc", "even", "odd", "square"]


def test_an_existing_run_is_never_overwritten(copied):
    before = weights(copied)
    with pytest.raises(ConfigError, match="--resume"):
        run(replace(copied, resume=False))
    with pytest.raises(ArtifactError, match="epochs was 3, is 4"):
        run(replace(copied, epochs=4))
    assert equal(before, weights(copied))


def test_a_checkpoint_of_another_format_is_refused_and_kept(copied):
    folder = RunFolder(copied.out)
    state = folder.load_checkpoint()
    state["identity"]["checkpoint format"] = 0
    folder.save_checkpoint(state, state["step"])
    with pytest.raises(ArtifactError, match="checkpoint format was 0"):
        run(copied)
    assert folder.load_checkpoint()["step"] == state["step"]


@pytest.mark.parametrize("is_relabeled", [False, True])
def test_changed_images_and_labels_are_refused_on_resume(copied, tmp_path, is_relabeled):
    shutil.copytree(copied.images, tmp_path / "images")
    image = next((tmp_path / "images" / "train" / "disc").iterdir())
    image.rename(tmp_path / "images" / "train" / "bar" / "moved.png") if is_relabeled else image.unlink()
    with pytest.raises(ArtifactError, match="training images was"):
        run(replace(copied, images=str(tmp_path / "images")))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"model": "resnet10x"}, UnknownNameError, "Did you mean: .*resnet10t"),
        ({"optimizer": "adamww"}, UnknownNameError, "Did you mean: .*adamw"),
        ({"model_kwargs": {"deepness": 3}}, ConfigError, "cannot be built with .*'deepness'"),
        ({"device": "cuda:77"}, ConfigError, "cannot be used"),
        ({"batch_size": 999, "augment": AugmentConfig()}, ConfigError, "only 24 training images"),
        ({"images": None, "train": "nowhere"}, DataError, "nowhere does not exist"),
    ],
)
def test_what_cannot_be_is_refused_plainly_and_leaves_nothing(config, change, kind, message):
    with pytest.raises(kind, match=message):
        run(replace(config, **change))
    assert not config.out.exists()


def test_the_run_says_what_it_was_made_from(finished):
    folder = RunFolder(finished.out)
    assert list((finished.out / "tensorboard").glob("events.*"))
    assert folder.config()["align"]["loss"] == "clip"
    assert "train_align_loss" in metrics(finished)[0]
    card = (finished.out / "card.md").read_text()
    assert "timm:vit_tiny_patch16_224, 3 classes" in card
    assert "24 training and 12 validation images" in card
    assert "22 images described by" in card
    assert "trained from scratch" in card
    facts = folder.facts()
    assert (facts.images, facts.num_train, facts.num_val, facts.weights) == ("images", 24, 12, "")
    assert [text.num_described for text in facts.texts] == [22]


def test_the_declared_use_warns_and_is_no_part_of_the_run(copied, tmp_path, capsys):
    (tmp_path / "licenses.yaml").write_text("names: {images: cc-by-nc-4.0}\n")
    result = run(replace(copied, use="commercial", licenses=tmp_path / "licenses.yaml"))
    warning = "the license of the images images, cc-by-nc-4.0, forbids commercial use"
    assert warning in capsys.readouterr().err
    assert warning in result.summary()
    assert "cc-by-nc-4.0 | forbidden" in (copied.out / "card.md").read_text()
