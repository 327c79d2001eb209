from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sightwords.align import OBJECTIVES, AlignmentHead, AlignmentLoss, Objective, Positives, clip_loss, pairs
from sightwords.align.weighting import combine_losses, gradient_ratio
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
OVER_PAIRS = sorted(set(OBJECTIVES) - {"cosine", "mse", "tokens", "class_mean"})
CLASS_TEXT = torch.randn(3, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def build(name: str, temperature: float = 0.1, **options) -> torch.nn.Module:
    return AlignmentLoss(name, temperature, class_text_KD=CLASS_TEXT, **options).double()


def objective(name: str, temperature: float = 0.1) -> Callable[..., Tensor]:
    """The objective's module, with labels for the rows."""
    return partial(build(name, temperature), label=torch.tensor(LABEL))


def reference(name: str, image: Tensor, text: Tensor, temperature: float, label=LABEL, **options) -> float:
    options |= {"label": label, "class_texts": CLASS_TEXT.tolist()}
    return reference_loss(name, image.tolist(), text.tolist(), temperature, **options)


def batch(name: str = "", dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(NUM_ROWS, DIM, generator=generator, dtype=torch.float64) * 3
    text = torch.randn(NUM_ROWS, DIM, generator=generator, dtype=torch.float64) + 0.5
    return image.to(dtype).requires_grad_(), (text.abs() if name == "tokens" else text).to(dtype)


def weights(name: str) -> Tensor | None:
    return None if WEIGHTS[name] is None else torch.tensor(WEIGHTS[name], dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_equals_the_written_out_computation(name, weight, temperature):
    image, text = batch(name)
    module = build(name, temperature)
    loss = module(image, text, weights(weight), label=torch.tensor(LABEL))
    exact = float(torch.as_tensor(module.temperature, dtype=torch.float64).detach())  # a learned one began in float32
    expected = reference(name, image, text, exact, weight=WEIGHTS[weight])
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("weight", ["none", "gaps"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_equals_finite_differences(name, weight):
    image, text = batch(name)
    loss = objective(name, 0.3)
    # the similarities of texts are targets, which no gradient goes into
    inputs = (image, text) if "soft" in name else (image, text.requires_grad_())
    assert torch.autograd.gradcheck(lambda z, t: loss(z, t, weights(weight)), inputs)


@pytest.mark.parametrize("name", ["clip", "sigmoid", "soft_label_clip", "class_mean"])
def test_a_learned_temperature_has_the_right_gradient(name):
    image, text = batch(name)
    module = build(name, 0.3, learn_temperature=True)
    parameters = dict(module.named_parameters())
    assert "log_scale" in parameters

    def loss(*values: Tensor) -> Tensor:
        own, rows = dict(zip(parameters, values, strict=True)), (image.detach(), text, weights("gaps"))
        return torch.func.functional_call(module, own, rows, {"label": torch.tensor(LABEL)})

    assert torch.autograd.gradcheck(loss, tuple(parameters.values()))
    assert module.temperature.item() == pytest.approx(0.3)


def test_a_learned_temperature_stays_in_its_limit_and_comes_back():
    image, text = batch()
    module = AlignmentLoss("clip", 0.01, learn_temperature=True).double()
    module(image, text).backward()
    assert module.log_scale.grad != 0
    with torch.no_grad():
        module.log_scale.add_(1.0)
    assert module.temperature.item() == pytest.approx(0.01)
    module(image, text)
    assert float(module.log_scale) == pytest.approx(math.log(100))


@pytest.mark.parametrize("weight", ["none", "gaps"])
@pytest.mark.parametrize("name", ["label_clip", "soft_label_clip", "class_mean"])
def test_labels_may_be_probabilities(name, weight):
    image, text = batch()
    loss = partial(build(name, 0.2), image, text, weights(weight))
    expected = reference(name, image, text, 0.2, MIXED, weight=WEIGHTS[weight])
    assert loss(label=torch.tensor(MIXED)).item() == pytest.approx(expected, abs=1e-6)
    one_hot = F.one_hot(torch.tensor(LABEL)).double()
    torch.testing.assert_close(loss(label=one_hot), loss(label=torch.tensor(LABEL)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["label_clip", "soft_label_clip"])
def test_images_without_a_class_belong_to_themselves_alone(name):
    loss = partial(build(name, 0.2), *batch())
    known = torch.tensor([0, 1, 0, 2, 3, 4])  # the last two alone in their classes
    probabilities = F.one_hot(known).double()[:, :3]  # rows of zeros
    torch.testing.assert_close(loss(label=torch.tensor([0, 1, 0, 2, -1, -1])), loss(label=known))
    torch.testing.assert_close(loss(label=probabilities), loss(label=known))
    together = Positives(torch.tensor([[0], [1], [2], [3], [9], [9]]), torch.ones(6, 1))
    joined = loss(label=torch.tensor([0, 1, 0, 2, 3, 3]), positives=together)
    torch.testing.assert_close(loss(label=probabilities, positives=together), joined)


@pytest.mark.parametrize("weight", ["none", "gaps"])
@pytest.mark.parametrize("name", ["clip", "contrastive", "sigmoid", "centered_clip", "soft_clip"])
def test_known_positives_are_targets(name, weight):
    """Rows 0 and 1 were mixed with each other, 3 and 4 are texts of one image, 5 is more of 2 than of itself."""
    image, text = batch()
    lam = torch.tensor([[0.7, 0.3], [0.7, 0.3], [1, 0], [1, 0], [1, 0], [0.3, 0.7]], dtype=torch.float64)
    positives = Positives(torch.tensor([[0, 1], [1, 0], [2, 2], [3, 3], [3, 3], [5, 2]]), lam)
    overlap = torch.eye(NUM_ROWS, dtype=torch.float64)
    overlap[:2, :2] = torch.tensor([[0.58, 0.42], [0.42, 0.58]])
    overlap[3:5, 3:5], overlap[5, 5] = 1, 0.58
    overlap[2, 5] = overlap[5, 2] = 0.7
    loss = build(name, 0.2)(image, text, weights(weight), positives=positives)
    expected = reference(name, image, text, 0.2, weight=WEIGHTS[weight], overlap=overlap.tolist())
    assert loss.item() == pytest.approx(expected, abs=1e-7)


def test_no_gradient_goes_into_similar_texts():
    image, text = batch()
    rows = F.normalize(text.requires_grad_(), dim=1)
    target, logits = (rows @ rows.T / 0.1).softmax(1).detach(), F.normalize(image, dim=1) @ rows.T / 0.2
    expected = -(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2
    found = [torch.autograd.grad(loss, text)[0] for loss in (build("soft_clip", 0.2)(image, text), expected)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", OVER_PAIRS)
def test_chunks_of_a_large_batch_give_the_same(name, monkeypatch):
    found = []
    for limit in (2**22, 13):  # two rows at once
        monkeypatch.setattr(pairs, "CHUNK_PAIRS", limit)
        image, text = batch()
        loss = objective(name, 0.2)(image, text, weights("gaps"))
        loss.backward()
        found.append((loss.detach(), image.grad))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


def step(name: str, device: str) -> Callable[[], None]:
    """All that a training step does with an objective."""
    image, text = (x.detach().to(device) for x in batch(name, torch.float32))
    image.requires_grad_()
    weight, scale = weights("gaps").to(device), torch.tensor(1024.0, device=device)
    module, label = build(name).float().to(device), torch.tensor(LABEL, device=device)

    def run() -> None:
        classification, alignment = image.square().mean(), module(image, text, weight, label=label)
        ratio = gradient_ratio(classification, alignment, image, scale)
        combine_losses(classification, alignment, 0.5, ratio).backward()

    return run


class NoReading(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in {"_local_scalar_dense", "nonzero", "item", "unique", "masked_select"}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_host_waits_for_no_value(name):
    run = step(name, "cpu")
    with NoReading():
        run()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_accelerator_is_never_waited_for(name):
    run = step(name, "cuda")
    run()  # libraries may wait once, on their first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_and_scale_of_the_weights_do_not_matter(name):
    image, text = batch(name)
    weight, order = weights("gaps"), torch.tensor([3, 1, 5, 0, 4, 2])
    one = objective(name)(image, text, weight)
    other = build(name)(image[order], text[order], weight[order] * 10, label=torch.tensor(LABEL)[order])
    gradients = [torch.autograd.grad(loss, image)[0] for loss in (one, other)]
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("filler", [1e30, float("nan")])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_rows_without_weight_take_no_part(name, filler):
    image, text = batch(name)
    weight = weights("gaps")
    present = weight > 0
    alone = build(name)(image[present], text[present], weight[present], label=torch.tensor(LABEL)[present])
    (expected,) = torch.autograd.grad(alone, image)

    filled = torch.where(present[:, None], image.detach(), filler).requires_grad_()
    among = objective(name)(filled, torch.where(present[:, None], text, filler), weight)
    (gradient,) = torch.autograd.grad(among, filled)
    torch.testing.assert_close(among, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert gradient[~present].count_nonzero() == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_weight_at_all_gives_zero(name):
    image, text = batch(name)
    loss = objective(name)(image, text, torch.zeros(NUM_ROWS))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(image.grad, torch.zeros_like(image))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_computed_in_float32_at_least_whatever_autocast_says(name, dtype):
    image, text = batch(name, dtype)
    loss = partial(build(name, 0.05).float(), image, text, label=torch.tensor(LABEL))
    plain = loss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss()
    assert plain.dtype == torch.float32
    assert plain.item() == pytest.approx(reference(name, image, text, 0.05), rel=1e-4)
    assert torch.equal(cast, plain)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_compiles_to_one_graph(name):
    image, text = batch(name, torch.float32)
    module = build(name).float()
    torch.compiler.reset()  # objectives share their code, and each is another graph of it
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    rows, label = (image, text, weights("gaps").float()), torch.tensor(LABEL)
    torch.testing.assert_close(compiled(*rows, label=label), module(*rows, label=label))


def test_clip_loss_is_the_objective_and_finite_at_extremes():
    image, text = batch()
    assert torch.equal(clip_loss(image, text, 0.2, weights("gaps")), build("clip", 0.2)(image, text, weights("gaps")))
    loss = clip_loss(image.float(), text.float(), 1e-4)
    loss.backward()
    assert loss.isfinite()
    assert image.grad.isfinite().all()


def test_settings_may_be_overridden():
    image, text = batch()
    one_side = build("clip", 0.2, both_sides=False)
    assert torch.equal(one_side(image, text), build("contrastive", 0.2)(image, text))
    with pytest.raises(UnknownNameError, match="own_text"):
        build("clip", target="own")(image, text)
    with pytest.raises(ConfigError, match="greater than 0"):
        build("soft_clip", target_temperature=0.0)(image, text)


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan"), float("inf")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ConfigError, match="greater than 0"):
        AlignmentLoss("mse", temperature)
    with pytest.raises(ConfigError, match="greater than 0"):
        clip_loss(*batch(), temperature)


def test_wrong_shapes_are_refused():
    image, text = batch()
    with pytest.raises(ConfigError, match=r"\(6, 5\).*\(6, 4\)"):
        clip_loss(image, text[:, :4])
    with pytest.raises(ConfigError, match=r"\(6, 5\).*\(1, 5\)"):
        clip_loss(image, text[:1])  # would broadcast
    with pytest.raises(ConfigError, match=r"\(6, 1\)"):
        clip_loss(image, text, weight_B=torch.ones(6, 1))  # would broadcast


def test_what_an_objective_lacks_is_said():
    image, text = batch()
    with pytest.raises(UnknownNameError, match="cosine"):
        AlignmentLoss("cosin")
    with pytest.raises(ConfigError, match="labels of the 6 rows"):
        build("label_clip")(image, text)
    with pytest.raises(ConfigError, match="class_mean needs class_text_KD"):
        AlignmentLoss("class_mean")
    with pytest.raises(ConfigError, match="cosine has no temperature"):
        AlignmentLoss("cosine", learn_temperature=True)
    with pytest.raises(ConfigError, match="smallest value is 0.01"):
        AlignmentLoss("clip", 0.001, learn_temperature=True)


def test_an_objective_is_one_file_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "manhattan.py").write_text("def distance(pairs):\n    return (pairs.image - pairs.text).abs().sum(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(OBJECTIVES, "manhattan", Objective("manhattan:distance", temperature="none"))
    head = AlignmentHead(7, DIM, "manhattan", projector="linear")
    features, text, weight = torch.randn(3, 7), torch.randn(3, DIM), torch.tensor([1.0, 0.0, 3.0])
    distance = (head.projector(features) - text).abs().sum(1)
    torch.testing.assert_close(head(features, text, weight), (distance[0] + 3 * distance[2]) / 4)
