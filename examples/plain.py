"""A plain PyTorch loop, taught by text: python examples/plain.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from drawn import load
from safetensors.torch import save_file

from sightwords import FeatureHook
from sightwords.align import AlignmentHead

torch.manual_seed(0)
folder = Path(sys.argv[1])
images, labels, text, weight = load(folder)

model = timm.create_model("test_resnet", num_classes=3)
hook = FeatureHook(model, "global_pool")  # what the classifier reads
head = AlignmentHead(model.num_features, text.shape[1], loss="clip", temperature=0.1)
optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=3e-3)

for epoch in range(6):
    for rows in torch.randperm(len(images)).split(16):
        loss = F.cross_entropy(model(images[rows]), labels[rows])
        alignment = head(hook.features, text[rows], weight[rows])
        optimizer.zero_grad()
        (loss + alignment).backward()
        optimizer.step()
    print(f"epoch {epoch} loss {loss.item():.4f} alignment {alignment.item():.4f}")

# the head is dropped; the file holds the stock network
save_file(model.state_dict(), folder / "model.safetensors")
