"""What an objective reads: the image-text pairs of a batch, checked and in full precision, over all processes.

An objective is a pure function from `Pairs` to the loss of each row; `mean_loss` makes the loss of the batch of it.

Shapes, as suffixes of names:
    B  rows (images, or texts of images) of this process
    G  rows of all processes together, G = W * B for W processes; G = B for one
    R  rows of a chunk
    D  dimension of the text vectors
    K  classes
    M  images that a row is mixed from

What holds for all objectives:

- Everything is computed in float32 or, if an input is float64, in float64, whatever autocast says.
- The loss is the weighted mean over all rows of all processes, sum_i w_i l_i / sum_i w_i. A row of weight 0 (an image
  without a description, a row of padding) takes no part, neither as anchor nor as negative, and may hold anything, NaN
  too. If all weights are 0, the loss is 0 and so is its gradient.
- Where torch.distributed is initialized, a process returns W times its part, W * sum_local(w_i l_i) / sum_global(w_i).
  The mean over the processes is the loss of the whole batch, and averaging the gradients over the processes, as
  DistributedDataParallel does, gives the gradient of that loss, exactly. Local batches must have one size
  (`pad_batch`), and either all processes give weights, or known positives, or none does.
- Nothing waits for the accelerator: no value is read back to Python.
- Where a batch is large, the pairs of rows are computed in chunks, and again in the backward pass: no process ever
  holds a whole B x G matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from sightwords.align.distributed import gather_batch, world_rank, world_size
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

CHUNK_PAIRS = 9_000_000
"""Pairs of rows whose similarities are held at once, 34 MiB; larger batches are computed in chunks, twice.

Beyond 32 MiB the processor's allocator gives a block its own mapping and returns it: smaller chunks took more memory.
"""

RowsToPairs = Callable[[int, int], Tensor]
"""(start, end) of local rows -> a number for each pair of them and the rows of all processes, (R, G)."""


@dataclass(frozen=True)
class Positives:
    """Pairs that are known to belong together: mixed images, and several texts of one image.

    A row is a mixture of M images: one with lam = 1, or two after mixup or cutmix. Several texts of an image are
    several rows with its id.

    Attributes:
        ids: (B, M) int64, number of each image that the row is made of, unique over all processes.
        lam: (B, M) how much of the row each makes up; rows sum to 1, rows of padding to 0.
    """

    ids: Tensor
    lam: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Positives:
        """Return the same with a function applied to both tensors."""
        return Positives(function(self.ids), function(self.lam))

    def overlap(self, others: Positives) -> Tensor:
        """Return the probability (R, G) that a part of a row here and a part of a row there are of the same image.

        A mixed image so has its own text as a positive with lam^2 + (1 - lam)^2, and its partner's with
        2 lam (1 - lam).
        """
        total = self.lam.new_zeros(len(self.ids), len(others.ids))
        for ids_R, lam_R in self._columns():
            for ids_G, lam_G in others._columns():
                total += torch.where(ids_R[:, None] == ids_G, lam_R[:, None] * lam_G, 0.0)
        return total

    def own_overlap(self) -> Tensor:
        """Return the overlap (B,) of each row with itself."""
        same_BMM = self.ids[:, :, None] == self.ids[:, None]
        return torch.where(same_BMM, self.lam[:, :, None] * self.lam[:, None], 0.0).sum((1, 2))

    def _columns(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.ids.unbind(1), self.lam.unbind(1), strict=True))


@dataclass(frozen=True)
class Pairs:
    """The rows of a batch: text i describes image i.

    Attributes:
        image: (B, D) projected image features.
        text: (B, D) text vectors.
        weight: (B,) weight of each row, 0 = no description; None = 1 for all.
        group: the processes that share the batch; None = the default group, if there is one.
        temperature: divides similarities, greater than 0; a number or a scalar tensor.
        label: (B,) integer classes, negative = none, or (B, K) class probabilities; None = not known.
        positives: pairs known to belong together; None = every row is an image of its own.
        class_text: (K, D) mean text vector of each class, zeros = none.
    """

    image: Tensor
    text: Tensor
    weight: Tensor | None = None
    group: ProcessGroup | None = None
    temperature: float | Tensor = 0.1
    label: Tensor | None = None
    positives: Positives | None = None
    class_text: Tensor | None = None

    def map_rows(self, function: Callable[[Tensor], Tensor]) -> Pairs:
        """Return the same with a function applied to every tensor that has a row for each pair."""
        return replace(
            self,
            image=function(self.image),
            text=function(self.text),
            weight=None if self.weight is None else function(self.weight),
            label=None if self.label is None else function(self.label),
            positives=None if self.positives is None else self.positives.map(function),
        )

    def unit_rows(self) -> tuple[Tensor, Tensor]:
        """Return images and texts (B, D) at unit length; a row of zeros stays zeros."""
        return F.normalize(self.image, dim=1), F.normalize(self.text, dim=1)

    def known_label(self) -> Tensor:
        """Return the labels, (B,) integer classes or (B, K) class probabilities.

        Raises:
            ConfigError: if none came, or not one a row.
        """
        if self.label is None or self.label.ndim not in (1, 2) or len(self.label) != len(self.image):
            came = "none came" if self.label is None else f"they have shape {tuple(self.label.shape)}"
            raise ConfigError(
                f"The objective needs the labels of the {len(self.image)} rows, (rows,) integers or (rows, classes) "
                f"probabilities; {came}."
            )
        return self.label

    def gather(self, x: Tensor) -> Tensor:
        """Return the rows (G, ...) of all processes, given this one's `x` (B, ...)."""
        return gather_batch(x, self.group)

    def has_weight(self) -> Tensor | None:
        """Return which rows of all processes take part, (G,); None = all do."""
        return None if self.weight is None else self.gather(self.weight) > 0

    def own_rows(self, start: int, end: int) -> Tensor:
        """Return where the local rows from `start` to `end` stand among those of all processes, (R,)."""
        first = world_rank(self.group) * len(self.image)
        return torch.arange(first + start, first + end, device=self.image.device)

    def is_own(self, start: int, end: int) -> Tensor:
        """Return which pairs (R, G) of the local rows from `start` to `end` are a row with itself, bool."""
        num_columns = world_size(self.group) * len(self.image)
        return self.own_rows(start, end)[:, None] == torch.arange(num_columns, device=self.image.device)

    def in_chunks(self, loss_of_rows: Callable[[int, int], Tensor]) -> Tensor:
        """Return the losses (B,) of all rows, computed from at most `CHUNK_PAIRS` pairs at once.

        A batch of several chunks is computed again in the backward pass: the memory is that of one chunk.

        Args:
            loss_of_rows: (start, end) of local rows -> their losses (R,). Must not gather: it is called again.
        """
        num_rows = len(self.image)
        size = max(1, CHUNK_PAIRS // max(1, world_size(self.group) * num_rows))
        if num_rows <= size:
            return loss_of_rows(0, num_rows)
        chunks = [
            checkpoint(loss_of_rows, start, min(start + size, num_rows), use_reentrant=False, preserve_rng_state=False)
            for start in range(0, num_rows, size)
        ]
        return torch.cat(chunks)


def mean_loss(objective: Callable[..., Tensor], pairs: Pairs, **settings: Any) -> Tensor:
    """The weighted mean of an objective over the rows of all processes.

    Args:
        objective: `Pairs` and settings -> losses (B,). The rows that it sees have one float type, float32 or float64,
            and are zeros where the weight is 0.
        pairs: the batch, in any float types.
        settings: of the objective.

    Returns:
        Scalar: W * sum_local(w_i l_i) / sum_global(w_i), and 0 where there is no weight at all.

    Raises:
        ConfigError: if the temperature or a shape is not allowed.
    """
    check_temperature(pairs.temperature)
    _check_shapes(pairs)
    # autocast would compute the similarities in half precision, too coarse once divided by the temperature
    with torch.autocast(device_type=pairs.image.device.type, enabled=False):
        ready = _prepare(pairs)
        loss_B = objective(ready, **settings)
        if ready.weight is None:
            return loss_B.mean()  # all local batches have one size: W * sum_local / (W * B)
        total = ready.gather(ready.weight).sum()
        return world_size(pairs.group) * (ready.weight * loss_B).sum() / torch.where(total > 0, total, 1.0)


def check_temperature(temperature: float | Tensor) -> None:
    """Refuse a temperature that is not a positive number; a tensor is not read, which would wait for the accelerator.

    Raises:
        ConfigError: if it is not allowed.
    """
    if not isinstance(temperature, Tensor) and not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"The temperature is {temperature}; it must be a number greater than 0, usually 0.05 to 0.2.")


def _check_shapes(pairs: Pairs) -> None:
    """Broadcasting would turn a wrong shape into a wrong loss, so refuse it."""
    image_BD, text_BD, weight_B = pairs.image, pairs.text, pairs.weight
    if image_BD.ndim != 2 or image_BD.shape != text_BD.shape:
        raise ConfigError(
            f"Image features have shape {tuple(image_BD.shape)} and text vectors {tuple(text_BD.shape)}; "
            "both must be (rows, dimension) and equal. Is the projector made for this encoder's dimension?"
        )
    if weight_B is not None and weight_B.shape != image_BD.shape[:1]:
        raise ConfigError(f"Weights have shape {tuple(weight_B.shape)}; it must be ({len(image_BD)},), one a row.")


def _prepare(pairs: Pairs) -> Pairs:
    """Everything in the float type of the computation, and zeros where the weight is 0."""
    dtype = torch.promote_types(torch.promote_types(pairs.image.dtype, pairs.text.dtype), torch.float32)
    image_BD, text_BD, weight_B = pairs.image.to(dtype), pairs.text.to(dtype), pairs.weight
    if weight_B is not None:
        weight_B = weight_B.to(dtype)
        present_B1 = (weight_B > 0)[:, None]
        image_BD, text_BD = torch.where(present_B1, image_BD, 0.0), torch.where(present_B1, text_BD, 0.0)
    known, class_text_KD = pairs.positives, pairs.class_text
    return Pairs(
        image_BD,
        text_BD,
        weight_B,
        group=pairs.group,
        temperature=pairs.temperature,
        label=pairs.label if pairs.label is None or pairs.label.ndim == 1 else pairs.label.to(dtype),
        positives=None if known is None else Positives(known.ids, known.lam.to(dtype)),
        class_text=None if class_text_KD is None else class_text_KD.to(dtype),
    )
