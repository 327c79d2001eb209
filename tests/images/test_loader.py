from __future__ import annotations

import numpy as np
import pytest
import torch

from sightwords.errors import ConfigError
from sightwords.images.config import AugmentConfig, ImagesConfig
from sightwords.images.dataset import open_dataset
from sightwords.images.loader import TrainOrder, eval_loader, train_loader
from sightwords.images.transforms import DecodedImage, EvalTransform, InputSize, TrainTransform

SIZE = InputSize(24)
STRONG = AugmentConfig(randaugment=2, color_jitter=0.4, erase=0.5, crop_scale=0.3)


@pytest.fixture
def train_set(images):
    return open_dataset(ImagesConfig(str(images)), show=False).split("train")


def batches(train_set, workers=0, first=0, last=9, rank=0, world=1, accumulate=1, batch_size=8):
    order = TrainOrder(len(train_set), batch_size, 3, rank, world, accumulate)
    transform = TrainTransform(STRONG, SIZE, seed=3)
    return list(train_loader(train_set, 3, transform, order, first, last, workers))


def same(a, b):
    return torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets) and torch.equal(a.indices, b.indices)


def test_workers_change_nothing(train_set):
    alone, helped = batches(train_set), batches(train_set, workers=2)
    assert len(alone) == 9
    assert all(same(a, b) for a, b in zip(alone, helped, strict=True))


def test_a_later_start_gives_the_same_batches(train_set):
    whole, rest = batches(train_set), batches(train_set, first=4)
    assert all(same(a, b) for a, b in zip(whole[4:], rest, strict=True))


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (1, 2), (2, 2)])
def test_processes_and_micro_batches_share_the_same_global_batch(train_set, world, accumulate):
    whole = batches(train_set, last=3)
    parts = [batches(train_set, last=3, rank=r, world=world, accumulate=accumulate) for r in range(world)]
    for step, batch in enumerate(whole):
        pieces = [parts[r][step * accumulate + m] for m in range(accumulate) for r in range(world)]
        assert torch.equal(torch.cat([p.images for p in pieces]), batch.images)
        assert torch.cat([p.positions for p in pieces]).tolist() == list(range(8))


def test_an_epoch_holds_every_image_once_and_each_epoch_differs(train_set):
    loaded = batches(train_set, last=6)
    epochs = [torch.cat([b.indices for b in loaded[i : i + 3]]) for i in (0, 3)]
    assert all(sorted(e.tolist()) == list(range(24)) for e in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    first = {int(i): x for b in loaded[:3] for i, x in zip(b.indices, b.images, strict=True)}
    second = {int(i): x for b in loaded[3:] for i, x in zip(b.indices, b.images, strict=True)}
    assert sum(torch.equal(first[i], second[i]) for i in first) <= 2


def test_loading_leaves_the_global_generator_alone(train_set):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    batches(train_set, last=1)
    assert torch.equal(torch.rand(3), expected)


def test_targets_and_join(train_set):
    order = TrainOrder(len(train_set), 6, 0)
    seen = []

    def join(indices, epoch):
        seen.append((indices.tolist(), epoch))
        return [torch.from_numpy(indices)]

    for batch in train_loader(train_set, 3, TrainTransform(AugmentConfig(), SIZE, 0), order, 0, 5, join=join):
        assert torch.equal(batch.targets.argmax(1), torch.tensor([int(train_set.labels(i)[0]) for i in batch.indices]))
        assert torch.equal(batch.targets.sum(1), torch.ones(6))
        assert torch.equal(batch.extra[0], batch.indices)
    assert [epoch for _, epoch in seen] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_falls_out_and_is_named(images, workers):
    victim = images / "train" / "disc" / "003.png"
    victim.write_bytes(victim.read_bytes()[:100])
    damaged = open_dataset(ImagesConfig(str(images)), show=False).split("train")
    loaded = batches(damaged, workers, last=3)
    assert sum(len(b.indices) for b in loaded) == 23
    assert [name.split(":")[0] for b in loaded for name in b.unreadable] == ["train/disc/003.png"]
    short = next(b for b in loaded if b.unreadable)
    assert len(short.images) == len(short.targets) == len(short.positions) == 7


def test_eval_loader_gives_every_image_once_over_processes(train_set):
    transform = EvalTransform(SIZE)
    parts = [list(eval_loader(train_set, 3, transform, 5, rank=r, world_size=3)) for r in range(3)]
    assert sorted(i for part in parts for b in part for i in b.indices.tolist()) == list(range(24))
    assert parts[0][0].images.shape[1:] == (3, 24, 24)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 100, "batch_size": 10, "world_size": 4}, "multiple of processes x micro-batches .4 x 1.*is 8"),
        ({"num_images": 4, "batch_size": 10}, "only 4 training images"),
    ],
)
def test_orders_that_cannot_be(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TrainOrder(seed=0, **arguments)


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("std", [0.0, 5.0])
def test_every_randaugment_operation_works_at_every_strength(magnitude, std):
    picture = DecodedImage(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    transform = TrainTransform(AugmentConfig(randaugment=3, magnitude=magnitude, magnitude_std=std), SIZE, 0)
    results = [transform(picture, epoch, "key") for epoch in range(60)]
    assert all(r.dtype == torch.uint8 and r.shape == (3, 24, 24) for r in results)
    assert len({r.numpy().tobytes() for r in results}) > 50


def test_repeats_are_spread_over_the_global_batch_and_augmented_differently(train_set):
    whole = TrainOrder(24, 8, 3, repeats=3)
    assert (whole.num_distinct, whole.steps_per_epoch) == (3, 3)
    for slots in whole.batches(0, 6):
        indices = [slot.index for slot in slots]
        assert indices[:3] == indices[3:6] == [*indices[6:], indices[2]]
        assert len(set(indices)) == 3
        assert [slot.repeat for slot in slots] == [0, 0, 0, 1, 1, 1, 2, 2]
        assert all(indices[i] != indices[i ^ 1] for i in range(8))  # partners in mixup
    epoch = [slot.index for slots in whole.batches(0, 3) for slot in slots]
    assert len(set(epoch)) == 9
    assert set(epoch) != {slot.index for slots in whole.batches(3, 6) for slot in slots}
    halves = [list(TrainOrder(24, 8, 3, rank, 2, repeats=3).batches(0, 3)) for rank in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == list(whole.batches(0, 3))
    (batch,) = train_loader(train_set, 3, TrainTransform(STRONG, SIZE, 3), whole, 0, 1)
    first, second = (batch.images[batch.positions == place] for place in (0, 3))
    assert not torch.equal(first, second)


def test_an_image_that_comes_again_in_a_batch_is_decoded_once(train_set, monkeypatch):
    from sightwords.images import loader

    opened = []
    original = loader.open_image
    monkeypatch.setattr(loader, "open_image", lambda reference: opened.append(reference) or original(reference))
    transform = TrainTransform(STRONG, SIZE, 3)
    whole = list(train_loader(train_set, 3, transform, TrainOrder(24, 8, 3, repeats=3), 0, 6))
    assert len(opened) == 6 * 3
    halves = [
        list(train_loader(train_set, 3, transform, TrainOrder(24, 8, 3, rank, 2, repeats=3), 0, 6)) for rank in range(2)
    ]
    assert all(
        torch.equal(torch.cat([a.images, b.images]), both.images) for a, b, both in zip(*halves, whole, strict=True)
    )
