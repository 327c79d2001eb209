from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from sightwords.images.config import AugmentConfig
from sightwords.images.decode import EncodedImage
from sightwords.images.transforms import (
    INTERPOLATIONS,
    DecodedImage,
    EvalTransform,
    InputSize,
    TrainTransform,
    random_crop,
    resize,
    shrunk,
)
from support.images import photo


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


class Slow(EncodedImage):
    """The same picture, always decoded whole and cropped then: what the fast way is measured by."""

    def crop(self, box, reduction=1):
        left, top, right, bottom = box
        return np.asarray(self.decode())[top:bottom, left:right]


def test_crops_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    reference = v2.RandomResizedCrop(32, scale=(0.3, 1.0))
    picture = [torch.zeros(3, 90, 160)]
    wanted = [reference.make_params(picture) for _ in range(4000)]
    draw = random.Random(0)
    found = [random_crop((160, 90), 0.3, draw) for _ in range(4000)]
    for mine, theirs in [
        ([box[2] - box[0] for box in found], [p["width"] for p in wanted]),
        ([box[3] - box[1] for box in found], [p["height"] for p in wanted]),
        ([box[0] for box in found], [p["left"] for p in wanted]),
        ([box[1] for box in found], [p["top"] for p in wanted]),
    ]:
        assert np.mean(mine) == pytest.approx(np.mean(theirs), abs=1.5)
        assert np.std(mine) == pytest.approx(np.std(theirs), abs=1.5)
    assert all(0 <= left < right <= 160 and 0 <= top < bottom <= 90 for left, top, right, bottom in found)


@pytest.mark.parametrize(
    ("orientation", "height", "width", "largest"),
    [(1, 601, 803, 8), (1, 600, 800, 8), (3, 600, 800, 8), (6, 600, 800, 8), (8, 600, 804, 4), (6, 601, 803, 1)],
)
def test_pictures_shrunk_while_decoding_are_near_to_those_decoded_whole(orientation, height, width, largest):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(photo(height, width, seed=3), exif=exif)
    assert EncodedImage(data).reductions[0] == largest
    transform = TrainTransform(AugmentConfig(crop_scale=0.5), InputSize(32), seed=1)
    means = []
    for epoch in range(12):
        fast, slow = (transform(kind(data), epoch, "key").numpy().astype(int) for kind in (EncodedImage, Slow))
        means.append(np.abs(fast - slow).mean())
    assert max(means) < 2.5


def test_evaluation_is_near_to_the_transforms_of_torchvision():
    data = jpeg(photo(500, 375, seed=4))
    reference = v2.Compose([v2.Resize(146, v2.InterpolationMode.BICUBIC), v2.CenterCrop(128), v2.PILToTensor()])
    expected = reference(Image.open(io.BytesIO(data))).numpy().astype(int)
    found = EvalTransform(InputSize(128))(EncodedImage(data), 0, "").numpy().astype(int)
    assert found.shape == expected.shape == (3, 128, 128)
    # the picture is decoded at half its size, so its pixels are averages of four: no more than that may differ
    assert np.abs(found - expected).mean() < 2.5
    whole = EvalTransform(InputSize(128))(DecodedImage(np.asarray(Image.open(io.BytesIO(data)))), 0, "")
    assert np.abs(whole.numpy().astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize(("height", "width"), [(90, 60), (60, 90), (33, 33)])
def test_shrinking_keeps_the_aspect_and_never_enlarges(height, width):
    picture = DecodedImage(photo(height, width, seed=5))
    small = shrunk(picture, 30, "bicubic")
    assert min(small.shape[1:]) == 30
    assert small.shape[1] / small.shape[2] == pytest.approx(height / width, rel=0.04)
    assert np.array_equal(shrunk(picture, 100, "bicubic").permute(1, 2, 0), picture.pixels)


def test_a_variant_is_a_function_of_seed_epoch_key_and_repeat():
    picture = DecodedImage(photo(60, 60, seed=6))
    config = AugmentConfig(crop_scale=0.3, randaugment=1, erase=0.5, color_jitter=0.3)
    transform = TrainTransform(config, InputSize(24), seed=7)
    same = [transform(picture, 2, "key") for _ in range(2)]
    assert torch.equal(*same)
    others = [transform(picture, 3, "key"), transform(picture, 2, "other"), transform(picture, 2, "key", 1)]
    others.append(TrainTransform(config, InputSize(24), seed=8)(picture, 2, "key"))
    assert not any(torch.equal(same[0], other) for other in others)


def test_flips_come_as_often_as_asked():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    for probability in (0.0, 0.5, 1.0):
        transform = TrainTransform(AugmentConfig(crop_scale=1.0, flip=probability), InputSize(8), seed=0)
        flipped = [int(transform(DecodedImage(pixels), epoch, "k")[0, 0, 0]) < 128 for epoch in range(400)]
        assert np.mean(flipped) == pytest.approx(probability, abs=0.08)


BOARD = (np.indices((120, 120)).sum(0) // 7 % 2 * 255).astype(np.uint8)  # hard edges are the worst case
PIXELS = [photo(200, 150, seed=1), np.stack([BOARD, 255 - BOARD, BOARD], axis=2)]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (150, 90), (300, 400), (31, 7)])
def test_near_to_pillow(interpolation, height, width):
    for pixels in PIXELS:
        resized = Image.fromarray(pixels).resize((width, height), getattr(Image.Resampling, interpolation.upper()))
        found = resize(pixels, height, width, interpolation)
        assert found.dtype == torch.uint8
        assert found.shape == (3, height, width)
        difference = np.abs(found.permute(1, 2, 0).numpy().astype(int) - np.asarray(resized).astype(int))
        assert difference.max() <= (10 if interpolation == "bicubic" else 1)
        assert difference.mean() < 0.1
