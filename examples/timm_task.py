"""A task for timm's train.py, taught by text: python examples/timm_task.py FOLDER

timm's train.py trains whatever task it is given: it calls `task(input, target)`, goes back through `loss`, clips
`task.get_clip_parameters()` and keeps `task.get_eval_model()`. In a copy of train.py, build this task where
ClassificationTask is built, and let the loader's dataset give (label, text vector, weight) as the target.
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
from drawn import load
from safetensors.torch import save_file
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.task import ClassificationTask
from timm.utils import dispatch_clip_grad, unwrap_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from sightwords import FeatureHook
from sightwords.align import AlignmentHead


class Taught(nn.Module):
    """What is trained: the network, and the head in the same module, so that one DDP wrapper averages both."""

    def __init__(self, model: nn.Module, head: AlignmentHead) -> None:
        super().__init__()
        self.model, self.head, self.hook = model, head, FeatureHook(model, "global_pool")

    def forward(self, images: Tensor, text: Tensor | None = None, weight: Tensor | None = None) -> Tensor | tuple:
        output = self.model(images)
        return output if text is None else (output, self.head(self.hook.features, text, weight))


class TextTask(ClassificationTask):
    def __init__(self, model: nn.Module, head: AlignmentHead, align_weight: float = 1.0, **options: object) -> None:
        super().__init__(Taught(model, head), **options)
        self.align_weight = align_weight

    def forward(self, input: Tensor, target: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        label, text, weight = target
        output, alignment = self.trainable_module(input, text, weight)
        loss = self.criterion(output, label)
        whole = loss + self.align_weight * alignment
        return {"loss": whole, "output": output, "classification": loss.detach(), "alignment": alignment.detach()}


torch.manual_seed(0)
folder = Path(sys.argv[1])
images, labels, text, weight = load(folder)
loader = DataLoader(TensorDataset(images, labels, text, weight), batch_size=16, shuffle=True)

model = timm.create_model("test_resnet", num_classes=3)
task = TextTask(model, AlignmentHead(model.num_features, text.shape[1]), criterion_kwargs={"smoothing": 0.1})
optimizer = create_optimizer_v2(task, opt="adamw", lr=3e-3)
schedule = CosineLRScheduler(optimizer, t_initial=6, lr_min=1e-4)
task.setup_ema(decay=0.9)

for epoch in range(6):  # what train_one_epoch of train.py does with a task
    task.train()
    for step, (batch, *target) in enumerate(loader):
        result = task(batch, tuple(target))
        optimizer.zero_grad()
        result["loss"].backward()
        dispatch_clip_grad(task.get_clip_parameters(), value=5.0)
        optimizer.step()
        task.update_ema(step)
    schedule.step(epoch + 1)
    print(f"epoch {epoch} loss {result['classification']:.4f} alignment {result['alignment']:.4f}")

save_file(unwrap_model(task.get_eval_model()).model.state_dict(), folder / "model.safetensors")
