"""A run whose network took two training steps, without the stage that trains: what stages after it read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sightwords.models import build_backbone
from sightwords.models.card import RunFacts
from sightwords.models.run_folder import NetworkInfo, RunFolder


def trained_run(
    folder: Path,
    model: str = "timm:test_resnet",
    image_size: int = 32,
    kwargs: dict[str, Any] | None = None,
    classes: tuple[str, ...] = ("bar", "disc", "square"),
    multi_label: bool = False,
    facts: RunFacts | None = None,
    **config: Any,
) -> torch.nn.Module:
    """Write a run; no weight and no running statistic of its network is the initial one. Return the network."""
    torch.manual_seed(0)
    backbone = build_backbone(model, len(classes), image_size, **(kwargs or {}))
    optimizer = torch.optim.SGD(backbone.parameters(), 1e-4)
    for _ in range(2):
        features, logits = backbone(torch.rand(4, 3, image_size, image_size))
        (logits.square().mean() + features.square().mean()).backward()
        optimizer.step()
    spec = backbone.input_spec
    names = [name.title() for name in classes]
    info = NetworkInfo(model, kwargs or {}, backbone.kwargs, len(classes), list(classes), names, multi_label,
                       image_size, spec.interpolation, spec.crop_pct, spec.mean, spec.std)  # fmt: skip
    run_folder = RunFolder(folder)
    run_folder.start({"model": model, "seed": 0, **config}, info)
    run_folder.save_weights(backbone.network.state_dict())
    run_folder.log({"step": 1, "epoch": 1, "val_top1": 0.5})
    run_folder.write_facts(facts or RunFacts("images", 24, 12))
    return backbone.network.eval()
