from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sightwords.align import LOSSES, build_loss, clip_loss, contrastive_loss, cosine_loss
from sightwords.errors import ConfigError, UnknownNameError

NUM_ROWS, DIM = 6, 5
WEIGHTS = {
    "none": None,
    "ones": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    "gaps": [1.0, 0.0, 0.5, 2.0, 0.0, 1.0],
    "single": [0.0, 0.0, 0.0, 3.0, 0.0, 0.0],
}


def reference_loss(name: str, image: Tensor, text: Tensor, temperature: float, weight: list[float] | None) -> float:
    """The objectives written out with loops over Python numbers."""
    images, texts = [_unit(row) for row in image.tolist()], [_unit(row) for row in text.tolist()]
    weight = [1.0] * len(images) if weight is None else weight
    present = [i for i, w in enumerate(weight) if w > 0]
    total = 0.0
    for i in present:
        own = _dot(images[i], texts[i])
        if name == "cosine":
            row = 2 - 2 * own
        else:
            to_text = math.log(sum(math.exp((_dot(images[i], texts[j]) - own) / temperature) for j in present))
            to_image = math.log(sum(math.exp((_dot(images[j], texts[i]) - own) / temperature) for j in present))
            row = to_text if name == "contrastive" else (to_text + to_image) / 2
        total += weight[i] * row
    return total / sum(weight)


def _unit(row: list[float]) -> list[float]:
    length = math.sqrt(_dot(row, row))
    return [x / length for x in row]


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _batch(seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(NUM_ROWS, DIM, generator=generator, dtype=torch.float64) * 3
    text = torch.randn(NUM_ROWS, DIM, generator=generator, dtype=torch.float64) + 0.5
    return image.to(dtype).requires_grad_(), text.to(dtype)


def _weight(name: str) -> Tensor | None:
    return None if WEIGHTS[name] is None else torch.tensor(WEIGHTS[name], dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_written_out_computation(name, weight, temperature):
    image, text = _batch()
    loss = build_loss(name, temperature)(image, text, _weight(weight))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(reference_loss(name, image, text, temperature, WEIGHTS[weight]), abs=1e-12)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences(name, weight):
    image, text = _batch()
    loss = build_loss(name, 0.3)
    assert torch.autograd.gradcheck(lambda z, t: loss(z, t, _weight(weight)), (image, text.requires_grad_()))


def test_functions_equal_modules():
    image, text = _batch()
    weight = _weight("gaps")
    assert torch.equal(clip_loss(image, text, 0.2, weight), build_loss("clip", 0.2)(image, text, weight))
    assert torch.equal(contrastive_loss(image, text, 0.2, weight), build_loss("contrastive", 0.2)(image, text, weight))
    assert torch.equal(cosine_loss(image, text, weight), build_loss("cosine", 0.2)(image, text, weight))


@pytest.mark.parametrize("name", LOSSES)
def test_order_of_the_batch_does_not_matter(name):
    image, text = _batch()
    weight, order = _weight("gaps"), torch.tensor([3, 1, 5, 0, 4, 2])
    loss = build_loss(name, 0.1)
    one, other = loss(image, text, weight), loss(image[order], text[order], weight[order])
    (gradient,) = torch.autograd.grad(one, image)
    (permuted,) = torch.autograd.grad(other, image)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, permuted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_length_of_the_rows_does_not_matter(name):
    image, text = _batch()
    loss = build_loss(name, 0.1)
    torch.testing.assert_close(loss(image * 7, text * 0.01), loss(image, text), rtol=0, atol=1e-12)


@pytest.mark.parametrize("filler", [0.0, 1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_without_weight_take_no_part(name, filler):
    image, text = _batch()
    weight = _weight("gaps")
    present = weight > 0
    loss = build_loss(name, 0.1)
    alone = loss(image[present], text[present], weight[present])
    (expected,) = torch.autograd.grad(alone, image)

    filled = image.detach().clone()
    filled[~present] = filler
    filled.requires_grad_()
    among = loss(filled, torch.where(present[:, None], text, filler), weight)
    (gradient,) = torch.autograd.grad(among, filled)
    torch.testing.assert_close(among, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert gradient[~present].count_nonzero() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_no_weight_at_all_gives_zero(name):
    image, text = _batch()
    loss = build_loss(name, 0.1)(image, text, torch.zeros(NUM_ROWS))
    loss.backward()
    assert loss.item() == 0
    assert image.grad.isfinite().all()
    assert image.grad.count_nonzero() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_scale_of_the_weights_does_not_matter(name):
    image, text = _batch()
    loss = build_loss(name, 0.1)
    one, ten = loss(image, text, _weight("gaps")), loss(image, text, _weight("gaps") * 10)
    torch.testing.assert_close(one, ten, rtol=0, atol=1e-12)


def test_perfect_alignment_is_the_minimum_of_cosine():
    _, text = _batch()
    assert cosine_loss(text * 2, text).item() == pytest.approx(0, abs=1e-12)
    assert cosine_loss(-text, text).item() == pytest.approx(4, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_computed_in_float32_at_least(name, dtype):
    image, text = _batch(dtype=dtype)
    loss = build_loss(name, 0.05)(image, text)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference_loss(name, image, text, 0.05, None), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    image, text = _batch(dtype=torch.float32)
    plain = build_loss(name, 0.05)(image, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = build_loss(name, 0.05)(image, text)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_extreme_temperature_stays_finite():
    image, text = _batch(dtype=torch.float32)
    loss = clip_loss(image, text, 1e-4)
    loss.backward()
    assert loss.isfinite()
    assert image.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_temperature_must_be_positive(name, temperature):
    with pytest.raises(ConfigError, match="temperature"):
        build_loss(name, temperature)
    image, text = _batch()
    with pytest.raises(ConfigError, match="greater than 0"):
        clip_loss(image, text, temperature)
    with pytest.raises(ConfigError, match="greater than 0"):
        contrastive_loss(image, text, temperature)


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_shapes_are_refused(name):
    image, text = _batch()
    loss = build_loss(name, 0.1)
    with pytest.raises(ConfigError, match=r"\(6, 5\).*\(6, 4\)"):
        loss(image, text[:, :4])
    with pytest.raises(ConfigError, match=r"\(6, 5\).*\(1, 5\)"):
        loss(image, text[:1])  # would broadcast
    with pytest.raises(ConfigError, match=r"\(6, 1\)"):
        loss(image, text, torch.ones(6, 1))  # would broadcast


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean: cosine"):
        build_loss("cosin")


@pytest.mark.parametrize("name", LOSSES)
def test_compiles_to_one_graph(name):
    image, text = _batch(dtype=torch.float32)
    loss = build_loss(name, 0.1)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    weight = _weight("gaps").float()
    torch.testing.assert_close(compiled(image, text, weight), loss(image, text, weight))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LOSSES)
def test_the_accelerator_is_never_waited_for(name):
    image, text = (x.detach().cuda() for x in _batch(dtype=torch.float32))
    image.requires_grad_()
    weight = _weight("gaps").cuda()
    loss = build_loss(name, 0.1)
    loss(image, text, weight).backward()  # libraries may wait once, on their first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(image, text, weight).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
