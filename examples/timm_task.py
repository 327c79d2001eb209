"""A task for timm's train.py (timm >= 1.0.27), taught by text: python examples/timm_task.py FOLDER

`TextTask` and `TextReader` go into a copy of train.py as docs/loops.md says; what follows them here is what train.py
does with any task, with timm's own loader, optimizer, EMA, evaluator and checkpoints.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from drawn import prepare
from safetensors.torch import save_file
from timm.data import create_dataset, create_loader
from timm.optim import create_optimizer_v2
from timm.task import ClassificationTask
from timm.utils import CheckpointSaver, dispatch_clip_grad, unwrap_model
from torch import Tensor, nn

import sightwords
from sightwords.align import AlignmentHead


class TextReader:
    """Reads (image file, target) for a timm dataset; target = [label, weight, text vector], which timm can collate."""

    def __init__(self, dataset: Any, embeddings: Path) -> None:
        self.reader = dataset.reader
        self.texts = sightwords.TextVectors(embeddings, sightwords.image_keys(dataset.filenames(absolute=True)))

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        (file, label), (vector, weight) = self.reader[index], self.texts[index]
        return file, np.concatenate([np.float32([label, weight]), vector])


class Taught(nn.Module):
    """What is trained: the network, and the head inside the same forward, so that one DDP wrapper holds both."""

    def __init__(self, network: nn.Module, head: AlignmentHead) -> None:
        super().__init__()
        self.network, self.head = network, head

    def no_weight_decay(self) -> set[str]:
        return {f"network.{name}" for name in getattr(self.network, "no_weight_decay", set)()}

    def forward(self, images: Tensor, text: Tensor, weight: Tensor, **mix: Any) -> tuple[Tensor, Tensor]:
        maps = self.network.forward_features(images)
        features = self.network.forward_head(maps, pre_logits=True)
        return self.network.forward_head(maps), self.head(features, text, weight, **mix)


class TextTask(ClassificationTask):
    """Classification and alignment; validated, averaged and saved is the stock network, resumed is the head too."""

    def __init__(
        self, model: nn.Module, head: AlignmentHead, align_weight: float, mixup: float = 0.0, **options: Any
    ) -> None:
        super().__init__(model, **options)
        self.trainable_module = Taught(model, head.to(self.device))
        self.align_weight, self.mixup = align_weight, mixup

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        label, weight, text = target[:, 0].long(), target[:, 1], target[:, 2:]
        mix: dict[str, Any] = {}
        if self.mixup > 0:  # here, not in timm's loader: that mixes the target and does not say with whom
            lam, partner = float(np.random.beta(self.mixup, self.mixup)), torch.arange(len(input)).flip(0)
            input, mix = (
                lam * input + (1 - lam) * input[partner],
                {"partner_B": partner.to(input.device), "lam": lam},
            )
        output, alignment = self.trainable_module(input, text, weight, **mix)
        loss = self.criterion(output, label)
        if mix:
            loss = lam * loss + (1 - lam) * self.criterion(output, label[partner])
        return {
            "loss": loss + self.align_weight * alignment,
            "output": output,
            "task_loss": loss,
            "align_loss": alignment,
        }

    def get_eval_model(self, module: nn.Module | None = None, ema: bool = False) -> nn.Module | None:
        module = unwrap_model(super().get_eval_model(module, ema))
        return getattr(module, "network", module)

    def get_task_state(self, module: nn.Module | None = None, ema: bool = False) -> dict[str, Any]:
        return {"head": unwrap_model(module or self.get_trainable_module(ema=ema)).head.state_dict()}

    def load_task_state(
        self, state: Any, strict: bool = True, module: nn.Module | None = None, ema: bool = False
    ) -> None:
        if state:
            unwrap_model(module or self.get_trainable_module(ema=ema)).head.load_state_dict(state["head"], strict)


def train_one_epoch(
    task: TextTask, loader: Any, optimizer: torch.optim.Optimizer, epoch: int, accum_steps: int
) -> None:
    task.get_trainable_module().train()
    for step, (input, target) in enumerate(loader):
        result = task(input, target)
        (result["loss"] / accum_steps).backward()
        if (step + 1) % accum_steps == 0 or step + 1 == len(loader):
            dispatch_clip_grad(task.get_clip_parameters(), value=5.0)
            optimizer.step()
            optimizer.zero_grad()
            task.update_ema()
    print(f"epoch {epoch} loss {result['task_loss']:.4f} alignment {result['align_loss']:.4f}")


def main(folder: Path) -> None:
    prepare(folder)
    dataset = create_dataset("", root=folder, split="train")  # finds folder/train
    dataset.reader = TextReader(dataset, folder / "E")
    options = {"input_size": (3, 32, 32), "batch_size": 12, "num_workers": 0, "device": torch.device("cpu")}
    loader = create_loader(dataset, is_training=True, no_aug=True, **options)

    network = timm.create_model("test_resnet", num_classes=3)
    head = AlignmentHead(network.num_features, dataset.reader.texts.dimension, loss="clip")
    task = TextTask(network, head, align_weight=1.0, criterion_kwargs={"smoothing": 0.1})
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="adamw", lr=3e-3)
    task.setup_ema(decay=0.8)
    for epoch in range(8):
        train_one_epoch(task, loader, optimizer, epoch, accum_steps=2)

    evaluator, model = task.create_evaluator(), task.get_eval_model(ema=True).eval()
    loader = create_loader(create_dataset("", root=folder, split="train"), crop_pct=1.0, **options)
    with torch.inference_mode():
        for input, target in loader:
            evaluator.update(model(input), target)
    print(f"top1 {evaluator.compute()['top1']:.1f}")
    CheckpointSaver(task.get_trainable_module(), optimizer, task=task, checkpoint_dir=folder).save_checkpoint(epoch)
    save_file(task.get_eval_model().state_dict(), folder / "model.safetensors")


if __name__ == "__main__":
    torch.manual_seed(0)
    np.random.seed(0)
    main(Path(sys.argv[1]))
