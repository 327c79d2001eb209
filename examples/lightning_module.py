"""Lightning, taught by text, with two micro-batches a step: python examples/lightning_module.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning as L
import timm
import torch
import torch.nn.functional as F
from drawn import load
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from sightwords import FeatureHook
from sightwords.align import AlignmentHead


class TaughtByText(L.LightningModule):
    def __init__(self, text_width: int) -> None:
        super().__init__()
        self.model = timm.create_model("test_resnet", num_classes=3)
        self.hook = FeatureHook(self.model, "global_pool")
        self.head = AlignmentHead(self.model.num_features, text_width)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        images, labels, text, weight = batch
        loss = F.cross_entropy(self.model(images), labels)
        alignment = self.head(self.hook.features, text, weight)
        self.log_dict({"loss": loss, "alignment": alignment}, on_epoch=True, on_step=False)
        return loss + alignment

    def on_train_epoch_end(self) -> None:
        shown = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        print(f"epoch {self.current_epoch} loss {shown['loss']:.4f} alignment {shown['alignment']:.4f}")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)  # the head's parameters too


L.seed_everything(0, verbose=False)
folder = Path(sys.argv[1])
data = TensorDataset(*load(folder))
module = TaughtByText(data.tensors[2].shape[1])
trainer = L.Trainer(
    max_epochs=8, accumulate_grad_batches=2, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
)  # fmt: skip
trainer.fit(module, DataLoader(data, batch_size=12, shuffle=True))
save_file(module.model.state_dict(), folder / "model.safetensors")
