"""What matters in fine-tuning: parts that do not learn, rates by layer, rare classes, and when to stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sightwords.errors import ConfigError, UnknownNameError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import Split, open_dataset
from sightwords.images.loader import TrainOrder
from sightwords.images.seeds import torch_seeded
from sightwords.models import build_backbone
from sightwords.training.config import AlignConfig, TrainConfig
from sightwords.training.data import draw_probabilities
from sightwords.training.loop import Loop
from sightwords.training.mixing import TrainBatch
from sightwords.training.optim import BODY, build_optimizer, build_schedule, freeze, set_rates
from sightwords.training.run import train as run
from sightwords.training.task import Task, class_weights
from support.texts import write_vectors
from support.trainings import killed_at, metrics, small_training

VIT = {"depth": 2, "embed_dim": 32, "num_heads": 2, "patch_size": 8}


@pytest.fixture
def train_set(images):
    return open_dataset(ImagesConfig(str(images)), show=False).split("train")


@pytest.fixture
def config(images, train_set, tmp_path):
    return small_training(images, tmp_path / "run", embeddings=[write_vectors(tmp_path / "E", train_set)], epochs=3)


def network_of(config):
    """The network as training starts it."""
    with torch_seeded("backbone", config.seed):
        return build_backbone(config.model, 3, config.image_size, **config.model_kwargs)


def changed(config):
    """Names of the tensors that training changed."""
    before = network_of(config).network.state_dict()
    after = load_file(config.out / "model.safetensors")
    return {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}


def test_frozen_parts_stay_bit_by_bit_their_statistics_too(config):
    run(replace(config, epochs=1, freeze=["conv1", "bn1", "layer[12]", "*.bn1"]))
    names = changed(config)
    frozen = [name for name in names if name.startswith(("conv1", "layer1", "layer2"))]
    assert frozen == []
    assert {"layer4.0.conv1.weight", "fc.weight"} <= names
    assert not any(".bn1." in name for name in names)
    assert any(".bn2.running_mean" in name for name in names)


def test_all_but_the_classifier(config):
    baseline = replace(config, epochs=1, embeddings=[], freeze=["all"])
    run(baseline)
    assert changed(baseline) == {"fc.weight", "fc.bias"}
    with pytest.raises(ConfigError, match="what the classifier reads.*frozen"):
        run(replace(config, out=config.out.parent / "other", freeze=["all"]))


@pytest.mark.parametrize(("where", "stuck"), [({"features": "layer2"}, "layer2"), ({"layers": ["layer1"]}, "layer1")])
def test_text_that_reaches_frozen_parts_alone_is_refused(config, where, stuck):
    features, align = where.get("features"), AlignConfig(layers=where.get("layers", []))
    below = replace(config, freeze=["conv1", "bn1", "layer1", "layer2"], features=features, align=align)
    with pytest.raises(ConfigError, match=f"features: {stuck}\\."):
        run(below)


def test_what_cannot_be_frozen_is_refused():
    backbone = build_backbone("test_resnet", 3, 32)
    with pytest.raises(UnknownNameError, match="Unknown part to freeze 'layer9'. Did you mean: layer"):
        freeze(backbone, ["layer9"])
    with pytest.raises(ConfigError, match="--freeze all fc leaves nothing"):
        freeze(backbone, ["all", "fc"])


def test_in_the_heads_warm_up_the_network_stays_as_it_was(config, monkeypatch):
    """In the first 5 of 6 steps nothing but the classifier changes; then all of it learns."""
    config = replace(config, epochs=2, head_warmup_epochs=1.5, optimizer="sgd", lr=0.1)
    seen = []
    original = Loop.step

    def spied(self, batches):
        original(self, batches)
        seen.append({name: tensor.clone() for name, tensor in self.state.task.backbone.network.state_dict().items()})

    monkeypatch.setattr(Loop, "step", spied)
    run(config)
    start = network_of(config).network.state_dict()
    assert len(seen) == 6
    for step, state in enumerate(seen):
        moved = {name for name in start if not torch.equal(state[name], start[name])}
        assert (moved == {"fc.weight", "fc.bias"}) == (step < 5), (step, moved)


@pytest.mark.parametrize(
    ("model", "kwargs", "order"),
    [
        ("vit_tiny_patch16_224", VIT, ["pos_embed", "blocks.0.mlp.fc1", "blocks.1.mlp.fc1", "head"]),
        ("test_resnet", {}, ["conv1.0", "layer1.0.conv1", "layer4.0.conv1", "fc"]),
    ],
)
def test_the_rate_falls_from_layer_to_layer(model, kwargs, order):
    config = TrainConfig("x", out="y", model=model, layer_decay=0.5, lr=1.0, warmup_epochs=0, epochs=2)
    task = Task(build_backbone(model, 3, 32, **kwargs), pad_to=4)
    optimizer = build_optimizer(task, config)
    set_rates(build_schedule(optimizer, config, 10), config, 0, 10)
    names = {id(p): name.removesuffix(".weight") for name, p in task.backbone.network.named_parameters()}
    groups = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    assert groups.keys() == set(names.values())
    rates = [groups[name]["lr"] for name in order]
    assert rates == sorted(set(rates))
    assert {group[BODY] for group in optimizer.param_groups} == {True, False}
    if kwargs:
        assert rates[1:] == [0.25, 0.5, 1.0]
        assert groups["pos_embed"]["weight_decay"] == groups["blocks.0.norm1"]["weight_decay"] == 0
        assert groups["head"]["weight_decay"] > 0


def test_layer_decay_needs_known_layers():
    config = TrainConfig("x", out="y", model="torchvision:resnet18", layer_decay=0.5)
    task = Task(build_backbone(config.model, 3, 32), pad_to=4)
    with pytest.raises(ConfigError, match="--layer-decay does not work with torchvision:resnet18"):
        build_optimizer(task, config)
    known = Task(build_backbone("test_resnet", 3, 32), pad_to=4)
    freeze(known.backbone, ["all"])
    assert {group["lr_scale"] for group in build_optimizer(known, config).param_groups} == {1.0}


def test_the_schedule_may_stand_still_within_an_epoch():
    config = TrainConfig(
        "x", out="y", schedule_per="epoch", epochs=10, warmup_epochs=2, lr=1.0, warmup_lr=0.1, min_lr=0
    )
    task = Task(build_backbone("test_resnet", 3, 32), pad_to=4)
    schedule = build_schedule(build_optimizer(task, config), config, 5)
    rates = []
    for step in range(50):
        set_rates(schedule, config, step, 5)
        rates.append(schedule.optimizer.param_groups[0]["lr"])
    by_epoch = np.array(rates).reshape(10, 5)
    assert (by_epoch == by_epoch[:, :1]).all()
    assert by_epoch[:3, 0] == pytest.approx([0.1, 0.55, 0.5 * (1 + np.cos(0.2 * np.pi))])


def test_class_weights_by_hand(train_set):
    few = train_set.subset([i for i in range(len(train_set)) if train_set.labels(i)[0] or i % 2])
    counts = np.bincount(few.first_labels())
    assert len(set(counts)) > 1
    balanced = class_weights("balanced", few, 3)
    assert balanced == pytest.approx(counts.sum() / (3 * counts))
    effective = class_weights("effective", few, 3)
    wanted = 0.001 / (1 - 0.999**counts)
    assert effective == pytest.approx(wanted / (wanted @ counts / counts.sum()))
    assert class_weights("none", few, 3) is None
    with pytest.raises(ConfigError, match="--class-weights is 'ballanced'.*none, balanced"):
        TrainConfig("x", out="y", class_weights="ballanced")


@pytest.mark.parametrize(
    ("targets", "factors"),
    [([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], [2, 0.5, 1]), ([[0.0, 0, 0], [1, 0, 1], [0, 1, 0]], [1, 1.5, 0.5])],
    ids=["one label", "several labels, or none"],
)
def test_class_weights_reach_the_loss(targets, factors):
    """An image has the mean weight of its labels, and 1 without any."""
    backbone, multi_label = build_backbone("test_resnet", 3, 32).eval(), sum(targets[1]) > 1
    batch = TrainBatch(torch.rand(3, 3, 32, 32), torch.tensor(targets))
    logits, weights = backbone(batch.images)[1], torch.tensor([2.0, 0.5, 1.0])
    plain, weighted = (Task(backbone, multi_label=multi_label, pad_to=3, class_weight_K=w) for w in (None, weights))
    mean, losses = plain.classification(logits, batch)
    assert mean.item() == pytest.approx(losses.mean().item())
    expected = (losses * torch.tensor(factors)).mean()
    assert weighted.classification(logits, batch)[0].item() == pytest.approx(expected.item())
    assert weighted.state_dict().keys() == plain.state_dict().keys()


def test_images_without_a_label_are_drawn_as_a_class_of_their_own(train_set):
    labels = [[0]] * 4 + [[1]] + [[]] * 5
    images = Split.of([train_set.reference(i) for i in range(10)], [f"{i:064d}" for i in range(10)], labels)
    drawn = draw_probabilities(1.0, images)
    assert drawn == pytest.approx([1 / 12] * 4 + [1 / 3] + [1 / 15] * 5)


def test_balanced_order():
    probabilities = np.array([0.05] * 10 + [0.25] * 2)
    order = TrainOrder(12, 4, seed=0, probabilities=probabilities)
    epochs = [order.epoch_order(epoch) for epoch in range(200)]
    assert all(len(epoch) == 12 for epoch in epochs)
    counts = np.bincount(np.concatenate(epochs), minlength=12) / 200
    assert counts == pytest.approx(12 * probabilities, abs=0.12)
    assert all(np.bincount(epoch, minlength=12)[10:].tolist() == [3, 3] for epoch in epochs)  # 12 x 0.25, always
    assert all((np.bincount(epoch, minlength=12)[:10] <= 1).all() for epoch in epochs)  # 0.6: once or never
    assert np.array_equal(order.epoch_order(7), TrainOrder(12, 4, seed=0, probabilities=probabilities).epoch_order(7))
    assert not np.array_equal(epochs[0], epochs[1])


@pytest.mark.parametrize("holdout", [0.0, 0.25])
def test_it_stops_early_and_keeps_the_best_weights(config, holdout, monkeypatch):
    config = replace(config, early_stopping=2, holdout=holdout, epochs=9)
    values = iter([0.4, 0.6, 0.5, 0.6, 0.9, 0.9])
    weights, original = [], Loop.validate

    def validate(self, loader):
        found = original(self, loader)
        if loader is self.eval_loader:
            weights.append({name: t.clone() for name, t in self.state.evaluated.backbone.network.state_dict().items()})
            found["top1"] = next(values)
        return found

    monkeypatch.setattr(Loop, "validate", validate)
    result = run(config)
    assert len(weights) == 4
    kept = load_file(config.out / "model.safetensors")
    assert all(torch.equal(kept[name], weights[1][name]) for name in kept)
    assert result.metrics["chosen_epoch"] == 2
    assert "The weights are those of epoch 2." in result.summary()
    assert ("chosen by the validation images" in result.summary()) == (not holdout)
    assert ("held out of the training" in (config.out / "card.md").read_text()) == bool(holdout)
    by_epoch = metrics(config)[:-1]
    assert [record["holdout_top1" if holdout else "val_top1"] for record in by_epoch] == [0.4, 0.6, 0.5, 0.6]
    assert not holdout or not any("val_top1" in record for record in by_epoch)
    before = metrics(config)
    run(replace(config, resume=True))  # it is over: nothing is trained, evaluated or logged again
    assert metrics(config) == before


def test_the_best_weights_are_those_of_the_run_that_goes_on(config, monkeypatch):
    """A machine that rounds otherwise may not find the best again that the run saw after its last checkpoint."""
    config = replace(config, early_stopping=5, epochs=4, checkpoint_every=6)
    values, weights, validate = [0.5, 0.4, 0.9, 0.45, 0.4, 0.5], [], Loop.validate

    def measured(self, loader):
        weights.append({name: t.clone() for name, t in self.state.evaluated.backbone.network.state_dict().items()})
        return validate(self, loader) | {"top1": values[len(weights) - 1]}

    monkeypatch.setattr(Loop, "validate", measured)
    with killed_at(10):
        run(config)
    assert run(replace(config, resume=True)).metrics["chosen_epoch"] == 1
    kept = load_file(config.out / "model.safetensors")
    assert all(torch.equal(kept[name], weights[0][name]) for name in kept)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_with_all_of_it(config, tmp_path):
    config = replace(
        config, freeze=["layer1"], layer_decay=0.7, head_warmup_epochs=1.5, class_weights="balanced", balanced=0.5,
        early_stopping=3, holdout=0.25, epochs=4, batch_size=6, checkpoint_every=2,
    )  # fmt: skip
    run(config)
    again = replace(config, out=tmp_path / "again", resume=True)
    for stop in (2, 7):
        with killed_at(stop):
            run(again)
    run(replace(again, workers=1))
    assert metrics(config) == metrics(again)
    one, other = (load_file(c.out / "model.safetensors") for c in (config, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
