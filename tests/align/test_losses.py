from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sightwords.align import (
    LOSSES,
    Sources,
    build_loss,
    clip_loss,
    contrastive_loss,
    cosine_loss,
    label_clip_loss,
)
from sightwords.align.losses import base
from sightwords.errors import ConfigError, UnknownNameError
from support.reference_loss import reference_loss

NUM_ROWS, DIM = 6, 5
WEIGHTS = {
    "none": None,
    "ones": [1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    "gaps": [1.0, 0.0, 0.5, 2.0, 0.0, 1.0],
    "single": [0.0, 0.0, 0.0, 3.0, 0.0, 0.0],
}


LABEL = [0, 1, 0, 2, 1, 0]
MIXED = [[0.7, 0.3, 0.0], [0.3, 0.7, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]
SCALE_FREE = sorted(set(LOSSES) - {"mse", "tokens", "centered_clip"})


def build(name: str, temperature: float = 0.1, **options) -> Callable[..., Tensor]:
    """The objective's module, with class texts and labels where it needs them."""
    needs = LOSSES[name]
    texts = {"class_text_KD": _class_texts()} if needs.needs_class_text else {}
    module = build_loss(name, temperature, **texts, **options)
    return Objective(module.double(), torch.tensor(LABEL))


class Objective(torch.nn.Module):
    def __init__(self, module: torch.nn.Module, label: Tensor) -> None:
        super().__init__()
        self.module, self.label = module, label

    def forward(self, image: Tensor, text: Tensor, weight: Tensor | None = None, order: Tensor | None = None) -> Tensor:
        label = self.label if order is None else self.label[order]
        return self.module(image, text, weight, label=label)


def reference(name: str, image: Tensor, text: Tensor, temperature: float, weight=None, label=None, **options) -> float:
    label, class_texts = LABEL if label is None else label, _class_texts().tolist()
    return reference_loss(name, image.tolist(), text.tolist(), temperature, weight, label, class_texts, **options)


def _class_texts() -> Tensor:
    return torch.randn(3, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def _batch(seed: int = 0, dtype: torch.dtype = torch.float64, name: str = "") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(NUM_ROWS, DIM, generator=generator, dtype=torch.float64) * 3
    text = torch.randn(NUM_ROWS, DIM, generator=generator, dtype=torch.float64) + 0.5
    return image.to(dtype).requires_grad_(), (text.abs() if name == "tokens" else text).to(dtype)


def _weight(name: str) -> Tensor | None:
    return None if WEIGHTS[name] is None else torch.tensor(WEIGHTS[name], dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", LOSSES)
def test_equals_the_written_out_computation(name, weight, temperature):
    image, text = _batch(name=name)
    objective = build(name, temperature)
    loss = objective(image, text, _weight(weight))
    assert loss.shape == ()
    exact = float(objective.module.temperature)  # a learned one began in float32
    assert loss.item() == pytest.approx(reference(name, image, text, exact, WEIGHTS[weight]), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_finite_differences(name, weight):
    image, text = _batch(name=name)
    loss = build(name, 0.3)
    # the similarities of texts are targets, which no gradient goes into
    inputs = (image, text) if name in ("soft_clip", "soft_label_clip") else (image, text.requires_grad_())
    assert torch.autograd.gradcheck(lambda z, t: loss(z, t, _weight(weight)), inputs)


@pytest.mark.parametrize("name", ["clip", "sigmoid", "soft_label_clip", "class_mean"])
def test_a_learned_temperature_has_the_right_gradient(name):
    image, text = _batch(name=name)
    objective = build(name, 0.3, learn_temperature=True)
    parameters = dict(objective.named_parameters())
    assert "module.log_scale" in parameters

    def loss(*values: Tensor) -> Tensor:
        own = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(objective, own, (image.detach(), text, _weight("gaps")))

    assert torch.autograd.gradcheck(loss, tuple(parameters.values()))
    assert objective.module.temperature.item() == pytest.approx(0.3)
    with torch.no_grad():
        objective.module.log_scale.fill_(50.0)
    assert objective.module.temperature.item() == pytest.approx(0.01)  # 1 / 100 at least


@pytest.mark.parametrize("weight", ["none", "gaps"])
@pytest.mark.parametrize("name", ["label_clip", "soft_label_clip", "class_mean"])
def test_labels_may_be_shares(name, weight):
    image, text = _batch()
    module = build(name, 0.2).module
    loss = module(image, text, _weight(weight), label=torch.tensor(MIXED))
    assert loss.item() == pytest.approx(reference(name, image, text, 0.2, WEIGHTS[weight], MIXED), abs=1e-6)
    one_hot = torch.nn.functional.one_hot(torch.tensor(LABEL)).double()
    integers = module(image, text, _weight(weight), label=torch.tensor(LABEL))
    torch.testing.assert_close(module(image, text, _weight(weight), label=one_hot), integers, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weight", ["none", "gaps"])
@pytest.mark.parametrize("name", ["clip", "contrastive", "sigmoid", "centered_clip"])
def test_known_positives_are_targets(name, weight):
    """Rows 0 and 1 were mixed with each other, 2 is itself, 3 and 4 are texts of one image, 5 mixed with itself."""
    image, text = _batch()
    sources = Sources(
        torch.tensor([[0, 1], [1, 0], [2, 2], [3, 3], [3, 3], [5, 5]]),
        torch.tensor([[0.7, 0.3], [0.7, 0.3], [1, 0], [1, 0], [1, 0], [0.4, 0.6]], dtype=torch.float64),
    )
    overlap = torch.eye(NUM_ROWS, dtype=torch.float64)
    overlap[:2, :2] = torch.tensor([[0.58, 0.42], [0.42, 0.58]])
    overlap[3:5, 3:5] = 1
    loss = build(name, 0.2).module(image, text, _weight(weight), sources=sources)
    expected = reference(name, image, text, 0.2, WEIGHTS[weight], overlap=overlap.tolist())
    assert loss.item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].contrastive])
def test_parts_of_a_large_batch_give_the_same(name, monkeypatch):
    found = []
    for pairs in (2**22, 13):  # two rows at once
        monkeypatch.setattr(base, "CHUNK_PAIRS", pairs)
        image, text = _batch()
        loss = build(name, 0.2)(image, text, _weight("gaps"))
        loss.backward()
        found.append((loss.detach(), image.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_is_read_back(name):
    """Not one operation here needs a value on the host, so an accelerator is never waited for."""
    image, text = _batch(dtype=torch.float32, name=name)
    objective, weight = build(name, 0.1), _weight("gaps")
    with NoReading():
        objective(image, text, weight).backward()


class NoReading(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in {"_local_scalar_dense", "nonzero", "item", "unique", "masked_select"}
        return func(*args, **(kwargs or {}))


def test_functions_equal_modules():
    image, text = _batch()
    weight = _weight("gaps")
    assert torch.equal(clip_loss(image, text, 0.2, weight), build_loss("clip", 0.2)(image, text, weight))
    assert torch.equal(contrastive_loss(image, text, 0.2, weight), build_loss("contrastive", 0.2)(image, text, weight))
    assert torch.equal(cosine_loss(image, text, weight), build_loss("cosine", 0.2)(image, text, weight))
    label = torch.tensor(LABEL)
    module = build_loss("label_clip", 0.2)
    assert torch.equal(label_clip_loss(image, text, label, 0.2, weight), module(image, text, weight, label=label))
    with pytest.raises(ConfigError, match="label_clip_loss needs the labels of the 6 images.*none came"):
        module(image, text, weight)
    with pytest.raises(ConfigError, match="class_mean needs class_text_KD"):
        build_loss("class_mean")


@pytest.mark.parametrize("name", LOSSES)
def test_order_of_the_batch_does_not_matter(name):
    image, text = _batch(name=name)
    weight, order = _weight("gaps"), torch.tensor([3, 1, 5, 0, 4, 2])
    loss = build(name, 0.1)
    one, other = loss(image, text, weight), loss(image[order], text[order], weight[order], order)
    (gradient,) = torch.autograd.grad(one, image)
    (permuted,) = torch.autograd.grad(other, image)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, permuted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCALE_FREE)
def test_length_of_the_rows_does_not_matter(name):
    image, text = _batch()
    loss = build(name, 0.1)
    torch.testing.assert_close(loss(image * 7, text * 0.01), loss(image, text), rtol=0, atol=1e-12)


@pytest.mark.parametrize("filler", [0.0, 1e30, float("nan"), float("inf")])
@pytest.mark.parametrize("name", LOSSES)
def test_rows_without_weight_take_no_part(name, filler):
    image, text = _batch(name=name)
    weight = _weight("gaps")
    present = weight > 0
    loss = build(name, 0.1)
    alone = loss(image[present], text[present], weight[present], present)
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
    image, text = _batch(name=name)
    loss = build(name, 0.1)(image, text, torch.zeros(NUM_ROWS))
    loss.backward()
    assert loss.item() == 0
    assert image.grad.isfinite().all()
    assert image.grad.count_nonzero() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_scale_of_the_weights_does_not_matter(name):
    image, text = _batch()
    loss = build(name, 0.1)
    one, ten = loss(image, text, _weight("gaps")), loss(image, text, _weight("gaps") * 10)
    torch.testing.assert_close(one, ten, rtol=0, atol=1e-12)


def test_perfect_alignment_is_the_minimum_of_cosine():
    _, text = _batch()
    assert cosine_loss(text * 2, text).item() == pytest.approx(0, abs=1e-12)
    assert cosine_loss(-text, text).item() == pytest.approx(4, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", LOSSES)
def test_computed_in_float32_at_least(name, dtype):
    image, text = _batch(dtype=dtype, name=name)
    loss = build(name, 0.05).float()(image, text)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference(name, image, text, 0.05), rel=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_nothing(name):
    image, text = _batch(dtype=torch.float32, name=name)
    plain = build(name, 0.05).float()(image, text)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = build(name, 0.05).float()(image, text)
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
        build(name, temperature)
    image, text = _batch()
    with pytest.raises(ConfigError, match="greater than 0"):
        clip_loss(image, text, temperature)
    with pytest.raises(ConfigError, match="greater than 0"):
        contrastive_loss(image, text, temperature)


@pytest.mark.parametrize("name", LOSSES)
def test_wrong_shapes_are_refused(name):
    image, text = _batch()
    loss = build(name, 0.1)
    if name != "class_mean":  # which reads no texts
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
    image, text = _batch(dtype=torch.float32, name=name)
    loss = build(name, 0.1).float()
    torch.compiler.reset()  # objectives share their code, and each is another graph of it
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    weight = _weight("gaps").float()
    torch.testing.assert_close(compiled(image, text, weight), loss(image, text, weight))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LOSSES)
def test_the_accelerator_is_never_waited_for(name):
    image, text = (x.detach().cuda() for x in _batch(dtype=torch.float32, name=name))
    image.requires_grad_()
    weight = _weight("gaps").cuda()
    loss = build(name, 0.1).float().cuda()
    loss.label = loss.label.cuda()
    loss(image, text, weight).backward()  # libraries may wait once, on their first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(image, text, weight).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["label_clip", "soft_label_clip"])
def test_images_without_a_class_belong_to_themselves_alone(name):
    image, text = _batch()
    module = build(name, 0.2).module
    known = torch.tensor([0, 1, 0, 2, 3, 4])  # the last two alone in their classes
    expected = module(image, text, label=known)
    torch.testing.assert_close(module(image, text, label=torch.tensor([0, 1, 0, 2, -1, -1])), expected)
    shares = torch.nn.functional.one_hot(known).double()[:, :3]  # rows of zeros
    torch.testing.assert_close(module(image, text, label=shares), expected)
    together = Sources(torch.tensor([[0], [1], [2], [3], [9], [9]]), torch.ones(6, 1, dtype=torch.float64))
    joined = module(image, text, label=torch.tensor([0, 1, 0, 2, 3, 3]), sources=together)
    torch.testing.assert_close(module(image, text, label=shares, sources=together), joined)


def test_soft_clip_knows_what_belongs_together():
    """Two texts of one image count as if they said the same."""
    image, text = _batch()
    sources = Sources(torch.tensor([[0], [1], [2], [3], [9], [9]]), torch.ones(6, 1, dtype=torch.float64))
    rows = torch.nn.functional.normalize(text, dim=1)
    cosine = rows @ rows.T
    cosine[4, 5] = cosine[5, 4] = 1.0
    target = (cosine / 0.1).softmax(1)
    logits = torch.nn.functional.normalize(image, dim=1) @ rows.T / 0.2
    expected = -(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2
    loss = build("soft_clip", 0.2).module(image, text, sources=sources)
    torch.testing.assert_close(loss, expected)


def test_a_learned_temperature_comes_back_from_its_limit():
    image, text = _batch()
    module = build_loss("clip", 0.01, learn_temperature=True).double()
    module(image, text).backward()
    assert module.log_scale.grad != 0
    with torch.no_grad():
        module.log_scale.add_(1.0)
    module(image, text)
    assert float(module.log_scale) == pytest.approx(math.log(100))
    with pytest.raises(ConfigError, match="CosineLoss has no temperature to learn"):
        build_loss("cosine", learn_temperature=True)
    with pytest.raises(ConfigError, match="its smallest value is 0.01"):
        build_loss("clip", 0.001, learn_temperature=True)
