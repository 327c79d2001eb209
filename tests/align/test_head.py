from __future__ import annotations

import copy
import doctest

import pytest
import torch

from sightwords import align
from sightwords.align import AlignmentHead, AlignmentLoss, TargetTransform, clip_loss, head
from sightwords.errors import ConfigError


def test_docstring_example_runs():
    results = doctest.testmod(head)
    assert results.attempted > 10
    assert results.failed == 0


def test_every_public_thing_is_there_and_documented():
    assert [name for name in align.__all__ if name != "OBJECTIVES" and not getattr(align, name).__doc__] == []
    with pytest.raises(AttributeError, match="it has: "):
        align.AlignmentHat  # noqa: B018


def test_forward_is_projector_then_loss():
    torch.manual_seed(0)
    features, text, weight = torch.randn(6, 12), torch.randn(6, 5), torch.tensor([1.0, 0, 1, 2, 1, 1])
    module = AlignmentHead(12, 5, loss="clip", temperature=0.3, projector="mlp", norm="none")
    assert torch.equal(module(features, text, weight), clip_loss(module.projector(features), text, 0.3, weight))
    module = AlignmentHead(12, 5, loss="cosine", projector="linear")
    assert torch.equal(module(features, text), AlignmentLoss("cosine")(module.projector(features), text))
    assert torch.equal(copy.deepcopy(module)(features, text), module(features, text))
    torch.testing.assert_close(module.project(features).norm(dim=1), torch.ones(6))


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 0.5, 2.0])])
def test_padding_comes_after_the_projector(weight):
    torch.manual_seed(0)
    module = AlignmentHead(12, 5)
    features, text = torch.randn(3, 12), torch.randn(3, 5)
    expected = module(features, text, weight)
    running_mean = module.projector[1].running_mean.clone()
    module.projector[1].reset_running_stats()
    torch.testing.assert_close(module(features, text, weight, pad_to=8), expected)
    torch.testing.assert_close(module.projector[1].running_mean, running_mean)


def test_mixed_texts_count_by_lam_whatever_their_length():
    torch.manual_seed(0)
    module = AlignmentHead(12, 5, loss="cosine", projector="linear")
    features, text = torch.randn(4, 12), torch.randn(4, 5)
    partner, lengths = torch.tensor([1, 0, 3, 2]), torch.tensor([[1.0], [50.0], [0.1], [3.0]])
    unit = torch.nn.functional.normalize(text, dim=1)
    expected = AlignmentLoss("cosine")(module.projector(features), 0.7 * unit + 0.3 * unit[partner])
    torch.testing.assert_close(module(features, text * lengths, partner_B=partner, lam=0.7), expected)
    with pytest.raises(ConfigError, match="partner_B and lam"):
        module(features, text, partner_B=partner)


def test_a_class_without_text_stays_without_when_the_mean_is_subtracted():
    means = torch.randn(3, 5)
    means[1] = 0
    module = AlignmentHead(12, 5, "class_mean", transform=TargetTransform(torch.ones(5)), class_text_KD=means)
    assert module.loss.class_text[1].count_nonzero() == 0
    assert module.loss.class_text[[0, 2]].count_nonzero() == 10


def test_centered_clip_subtracts_the_mean_of_the_batch_unless_the_texts_are_centered():
    torch.manual_seed(0)
    features, text = torch.randn(6, 12), torch.randn(6, 5) + 3
    module = AlignmentHead(12, 5, "centered_clip")
    expected = module(features, text)
    torch.testing.assert_close(module(features, text + 1), expected)
    transform = TargetTransform(text.mean(0), normalize=False)
    centered = AlignmentHead(12, 5, "centered_clip", transform=transform)
    centered.projector = module.projector
    torch.testing.assert_close(centered(features, text), expected)
    assert not torch.allclose(centered(features, text + 1), expected)
