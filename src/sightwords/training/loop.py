"""The training loop: steps, epochs, evaluation, checkpoints, and what is logged and shown of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from timm.utils import distribute_bn
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from sightwords.align import schedule_weight
from sightwords.images.loader import ImageBatch, TrainOrder
from sightwords.models.run_folder import RunFolder
from sightwords.progress import Progress
from sightwords.training.checkpoint import TrainState
from sightwords.training.config import TrainConfig
from sightwords.training.distributed import Processes
from sightwords.training.mixing import BatchMaker
from sightwords.training.optim import build_schedule, in_head_warmup, set_rates, to_eval_if_frozen
from sightwords.training.step import GradientStep
from sightwords.training.task import classification_loss

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


SHOW_INTERVAL_S = 0.5


class Loop:
    """Trains from the state's step to the end; `eval_loader` has what is evaluated after each epoch, if anything is."""

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        *,
        order: TrainOrder,
        make_batch: BatchMaker,
        eval_loader: DataLoader[ImageBatch] | None,
        run: RunFolder,
        group: Processes,
    ) -> None:
        self.config, self.state, self.order = config, state, order
        self.make_batch, self.eval_loader, self.run, self.group = make_batch, eval_loader, run, group
        self.num_steps = config.epochs * order.steps_per_epoch
        self.unreadable: set[str] = set()
        self._schedule = build_schedule(state.optimizer, config, order.steps_per_epoch)
        self._model = self._wrapped()
        self._gradients = GradientStep(config, state.task, self._model, make_batch, state.scaler, group)
        self._writer: SummaryWriter | None = None
        self._is_warm_up: bool | None = None  # unknown: the modules' modes are set at the next step

    def fit(self, batches: Iterator[ImageBatch]) -> None:
        """Train over the remaining steps, `batches` being their micro-batches in order."""
        self._first_step = self.state.step + 1
        total, seen = (n * self.order.batch_size for n in (self.num_steps, self.state.step))
        name = "aligned" if self.config.embeddings else "baseline"
        title = f"Training {self.config.model} ({name})"
        with Progress(title, total, "images", seen, self.group.is_main) as progress:
            while self.state.step < self.num_steps and not self.state.best.is_over:
                self._epoch(batches, progress)
        if self._writer is not None:
            self._writer.close()

    def _epoch(self, batches: Iterator[ImageBatch], progress: Progress) -> None:
        """Train to the end of the current epoch, evaluate, log and keep a checkpoint."""
        epoch = self.state.step // self.order.steps_per_epoch
        end = (epoch + 1) * self.order.steps_per_epoch
        first_step, start_s, shown_s = self.state.step, time.perf_counter(), 0.0
        self._is_warm_up = None
        while self.state.step < end:
            self.step(batches)
            show = time.perf_counter() - shown_s > SHOW_INTERVAL_S
            progress.advance(self.order.batch_size, self._note(epoch) if show else "")
            shown_s = time.perf_counter() if show else shown_s
            if self.state.step < end:
                self._save_if_due()
        seconds = time.perf_counter() - start_s
        self._finish_epoch(epoch, (end - first_step) * self.order.batch_size / seconds, progress)

    def step(self, batches: Iterator[ImageBatch]) -> None:
        """Take one optimizer step; its micro-batches are the next `accumulate` of the batches."""
        state, config = self.state, self.config
        set_rates(self._schedule, config, state.step, self.order.steps_per_epoch)
        self._set_modes()
        state.optimizer.zero_grad(set_to_none=True)
        loaded = list(islice(batches, config.accumulate))
        for batch in loaded:
            self.unreadable.update(batch.unreadable)
        state.add(self._gradients(loaded, state.step, self._align_weight()))
        if config.clip_grad is not None:
            state.scaler.unscale_(state.optimizer)
            nn.utils.clip_grad_norm_(state.task.parameters(), config.clip_grad)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.step += 1
        if state.ema is not None:
            state.ema.update(state.task, step=state.step)

    def _set_modes(self) -> None:
        """Put the modules into training mode, but for what does not learn; only where that changes."""
        is_warm_up = in_head_warmup(self.config, self.state.step, self.order.steps_per_epoch)
        if is_warm_up == self._is_warm_up:
            return
        self._is_warm_up = is_warm_up
        network, classifier = self.state.task.backbone.network, self.state.task.backbone.classifier
        self._model.train()
        if is_warm_up:
            network.eval()
            classifier.train()
        elif self.config.freeze:
            to_eval_if_frozen(network)

    def _align_weight(self) -> float:
        part = self.config.align
        progress = self.state.step / max(1, self.num_steps - 1)
        return schedule_weight(part.schedule, progress, part.weight, part.final_weight, part.jump_at)

    def _finish_epoch(self, epoch: int, images_per_second: float, progress: Progress) -> None:
        record = {"step": self.state.step, "epoch": epoch + 1, **self._means(self.group.sum_by_name(self.state.sums))}
        record["lr"] = self.state.optimizer.param_groups[0]["lr"]
        is_due = (epoch + 1) % self.config.eval_every == 0 or epoch + 1 == self.config.epochs
        if is_due and self.eval_loader is not None:
            record |= self._evaluate(epoch + 1)
        record["images_per_second"] = images_per_second
        self.state.sums.clear()
        if self.group.is_main:
            self._log(record, progress)
        self._save_if_due()

    def _evaluate(self, epoch: int) -> dict[str, float]:
        """Evaluate, and keep the weights if they are the best so far."""
        assert self.eval_loader is not None
        found = self.validate(self.eval_loader)
        self.state.best.update(found["top1"], epoch, self.state.evaluated)
        split = "holdout" if self.config.holdout else "val"
        return {f"{split}_{name}": value for name, value in found.items()}

    @torch.no_grad()
    def validate(self, loader: DataLoader[ImageBatch]) -> dict[str, float]:
        """Return `loss` and `top1` (and `top5` with more than five classes) over all processes' images.

        In multi-label data an image counts as correct if its strongest output is one of its classes.
        """
        backbone = self.state.evaluated.backbone.eval()
        if self.group.world_size > 1:
            distribute_bn(backbone, self.group.world_size)
        sums = dict.fromkeys(("loss", "top1", "top5", "images"), torch.zeros((), dtype=torch.float64))
        for batch in loader:
            _, logits = backbone(self.make_batch.images(batch))
            logits, targets = logits.float().cpu(), batch.targets
            ranked = targets.gather(1, logits.topk(min(5, logits.shape[1])).indices) > 0
            losses = classification_loss(logits, targets, 0.0, self.state.task.multi_label)
            found = {"loss": losses.sum(), "top1": ranked[:, 0].sum(), "top5": ranked.any(1).sum()}
            found["images"] = torch.tensor(len(targets))
            sums = {name: sums[name] + value.double() for name, value in found.items()}
        totals = self.group.sum_by_name(sums)
        wanted = ("loss", "top1", "top5") if backbone.num_classes > 5 else ("loss", "top1")
        return {name: float(totals[name] / totals["images"]) for name in wanted}

    def finish(self, val_loader: DataLoader[ImageBatch]) -> None:
        """Go back to the best weights and log their metrics on the validation images, where these were not logged."""
        self.group.barrier()
        best = self.state.best
        if best.patience:
            self.state.evaluated.load_state_dict(best.weights)
        if not (best.patience or self.config.holdout) or "chosen_epoch" in self.run.metrics()[-1]:
            return
        record: dict[str, float] = {"step": self.state.step, "epoch": self.state.step // self.order.steps_per_epoch}
        record |= {f"val_{name}": value for name, value in self.validate(val_loader).items()}
        if self.group.is_main:
            self.run.log(record | {"chosen_epoch": best.epoch})

    def _note(self, epoch: int) -> str:
        """Return what the progress bar shows of this process's images."""
        means = self._means(self.state.sums)
        shown = [f"epoch {epoch + 1}/{self.config.epochs}", f"loss {means['train_loss']:.3f}"]
        if self.config.has_labels and "train_align_loss" in means:
            shown += [f"class {means['train_classification_loss']:.3f}", f"align {means['train_align_loss']:.3f}"]
        shown += [f"accuracy {means['train_accuracy']:.1%}"] if self.config.has_labels else []
        return ", ".join(shown)

    def _means(self, sums: Mapping[str, Tensor]) -> dict[str, float]:
        """Return `train_NAME`, the mean over images, of each sum that says something."""
        unused = ("images",) if self.config.has_labels else ("images", "classification_loss", "accuracy")
        return {f"train_{name}": float(value / sums["images"]) for name, value in sums.items() if name not in unused}

    def _log(self, record: dict[str, Any], progress: Progress) -> None:
        self.run.log(record)
        writer = self._open_writer()
        for name, value in record.items():
            if name not in ("step", "epoch"):
                writer.add_scalar(name.replace("_", "/", 1), value, record["step"])
        shown = [f"epoch {record['epoch']}/{self.config.epochs}", f"loss {record['train_loss']:.3f}"]
        shown += [f"{name} {value:.2%}" for name, value in record.items() if name.endswith("_top1")]
        progress.message("  ".join([*shown, f"{record['images_per_second']:.0f} images/s"]))

    def _open_writer(self) -> SummaryWriter:
        """Return the writer for TensorBoard, whose library is loaded here: the first steps need not wait for it."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.run.folder / "tensorboard"), purge_step=self._first_step)
        return self._writer

    def _save_if_due(self) -> None:
        state, every = self.state, self.config.checkpoint_every or self.order.steps_per_epoch
        if state.step % every and state.step < self.num_steps and not state.best.is_over:
            return
        sums = self.group.sum_by_name(state.sums)
        if self.group.is_main:
            self.run.save_checkpoint(state.state_dict() | {"sums": sums}, state.step)
        self.group.barrier()

    def _wrapped(self) -> nn.Module:
        model: nn.Module = self.state.task
        if self.config.compile:
            model.compile()
        if self.group.world_size > 1:
            ids = [self.group.device.index] if self.group.device.type == "cuda" else None
            model = DistributedDataParallel(model, device_ids=ids)
        return model
