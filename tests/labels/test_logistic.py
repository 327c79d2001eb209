from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize

from sightwords.labels.noise import fit_logistic


def test_it_ends_where_the_gradient_is_zero():
    draw = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(60, 4, generator=draw), torch.randint(3, (60,), generator=draw)
    weight, bias = fit_logistic(vectors, labels, 3, 1e-2, 200)
    weight.requires_grad_(), bias.requires_grad_()
    (F.cross_entropy(vectors @ weight.T + bias, labels) + 1e-2 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-4
    assert bias.grad.abs().max() < 1e-4


def test_it_is_scipys_answer_for_two_classes():
    draw = torch.Generator().manual_seed(1)
    vectors, labels = torch.randn(50, 3, generator=draw), torch.randint(2, (50,), generator=draw)
    x, sign = vectors.double().numpy(), labels.numpy() * 2 - 1

    def loss(w):  # of the difference of both classes' weights, which the penalty halves
        return np.log1p(np.exp(-sign * (x @ w[:3] + w[3]))).mean() + 0.05 * (w[:3] ** 2).sum() / 2

    expected = minimize(loss, [0.0] * 4).x
    weight, bias = fit_logistic(vectors, labels, 2, 0.05, 200)
    got = torch.cat([weight[1] - weight[0], (bias[1] - bias[0])[None]]).double()
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-3, atol=1e-3)
