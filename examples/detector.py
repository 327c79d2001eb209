"""A detector, taught by text through its backbone: python examples/detector.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from drawn import SHAPES, load
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

from sightwords import FeatureHook
from sightwords.align import AlignmentHead


def scenes(text: Tensor, labels: Tensor, images: Tensor, num_scenes: int = 8) -> tuple[list, list, Tensor]:
    """Paste two drawn shapes side by side; the text of a scene is the mean of theirs, as if it described both."""
    pairs, targets, vectors = [], [], []
    for scene in range(num_scenes):
        pair = [2 * scene, 2 * scene + 1]
        pairs.append(torch.cat([images[i] for i in pair], dim=2) / 2 + 0.5)
        boxes = torch.tensor([[1.0, 1.0, 31.0, 31.0], [33.0, 1.0, 63.0, 31.0]])
        targets.append({"boxes": boxes, "labels": labels[pair] + 1})
        vectors.append(text[pair].mean(0))
    return pairs, targets, torch.stack(vectors)


torch.manual_seed(0)
folder = Path(sys.argv[1])
images, labels, text, _ = load(folder)
images, targets, text = scenes(text, labels, images)

detector = fasterrcnn_mobilenet_v3_large_320_fpn(
    weights=None, weights_backbone=None, num_classes=1 + len(SHAPES), min_size=64, max_size=128,
    box_batch_size_per_image=16,
)  # fmt: skip
hook = FeatureHook(detector, "backbone.body.16")  # the last map of its backbone, before the pyramid
head = AlignmentHead(960, text.shape[1], loss="clip")
optimizer = torch.optim.AdamW([*detector.parameters(), *head.parameters()], lr=5e-4)

detector.train()
for step in range(8):
    losses = detector(images, targets)
    detection, alignment = sum(losses.values()), head(hook.features, text)
    optimizer.zero_grad()
    (detection + alignment).backward()
    optimizer.step()
    print(f"step {step} loss {detection.item():.4f} alignment {alignment.item():.4f}")

save_file(detector.state_dict(), folder / "model.safetensors")
