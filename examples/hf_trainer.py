"""The Hugging Face Trainer, taught by text: python examples/hf_trainer.py FOLDER"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from drawn import load
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import AutoModelForImageClassification, Trainer, TrainingArguments, ViTConfig

from sightwords import FeatureHook
from sightwords.align import AlignmentHead


class TaughtByText(nn.Module):
    """A plain network and the head that is dropped; its forward gives the loss, as the Trainer expects."""

    def __init__(self, model: nn.Module, text_width: int) -> None:
        super().__init__()
        self.model = model
        self.head = AlignmentHead(model.config.hidden_size, text_width, norm="none")
        self.hook = FeatureHook(model, "vit.layernorm")  # its class token is what the classifier reads

    def forward(self, pixel_values: Tensor, labels: Tensor, text: Tensor, weight: Tensor) -> dict[str, Tensor]:
        out = self.model(pixel_values, labels=labels)
        alignment = self.head(self.hook.output[:, 0], text, weight)
        return {"loss": out.loss + alignment, "classification": out.loss.detach(), "alignment": alignment.detach()}


class Rows(Dataset[Any]):
    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        names = ("pixel_values", "labels", "text", "weight")
        return dict(zip(names, (tensor[index] for tensor in self.tensors), strict=True))


class ShowingTrainer(Trainer):
    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        out = model(**inputs)
        if self.state.global_step % 3 == 0:
            loss, alignment = out["classification"].item(), out["alignment"].item()
            print(f"step {self.state.global_step} loss {loss:.4f} alignment {alignment:.4f}")
        return (out["loss"], out) if return_outputs else out["loss"]


torch.manual_seed(0)
folder = Path(sys.argv[1])
data = load(folder)
config = ViTConfig(
    hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=32, patch_size=8,
    num_labels=3, hidden_dropout_prob=0.0,
)  # fmt: skip
model = AutoModelForImageClassification.from_config(config)
arguments = TrainingArguments(
    str(folder / "trainer"), num_train_epochs=20, per_device_train_batch_size=16, learning_rate=3e-3, use_cpu=True,
    save_strategy="no", report_to="none", disable_tqdm=True, logging_strategy="no", seed=0,
)  # fmt: skip
ShowingTrainer(TaughtByText(model, data[2].shape[1]), arguments, train_dataset=Rows(data)).train()
model.save_pretrained(folder / "model")  # the plain network alone
