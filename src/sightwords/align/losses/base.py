"""What all objectives share: checking and preparing rows, the mean over the global batch, and rows in chunks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sightwords.align.gather import gather_batch, world_size
from sightwords.align.projector import ProjectorKind
from sightwords.align.sources import Sources
from sightwords.align.targets import normalize_targets
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

MAX_SCALE = 100.0
"""Largest 1 / temperature that is learned, as in CLIP, arXiv 2103.00020, section 2.5."""

CHUNK_PAIRS = 9_000_000
"""Pairs of rows whose similarities are held at once, 34 MiB; larger batches are computed in parts, twice.

Beyond 32 MiB the processor's allocator gives a block its own mapping and returns it: smaller parts took more memory.
"""


class AlignmentLoss(nn.Module):
    """What every objective's module has in common: `forward(image_BD, text_BD, weight_B, group)` gives a scalar.

    Args:
        temperature: greater than 0; objectives without a temperature do not read it.
        learn_temperature: make it a parameter, the logarithm of 1 / temperature, which starts from `temperature` and
            stays at 100 at most.

    Raises:
        ConfigError: if the temperature is not allowed, or there is none to learn.
    """

    function: ClassVar[Callable[..., Tensor]]
    """The objective."""
    contrastive: ClassVar[bool] = True
    """Whether the loss of a row depends on other rows of the batch."""
    takes_temperature: ClassVar[bool] = True
    """Whether the objective has a temperature."""
    takes_sources: ClassVar[bool] = False
    """Whether pairs that `sources` tells to belong together are positives."""
    needs_labels: ClassVar[bool] = False
    """Whether `label` must be given."""
    needs_class_text: ClassVar[bool] = False
    """Whether the mean text vector of each class must be given."""
    normalizes: ClassVar[bool] = True
    """Whether text targets should have unit length."""
    shares_space: ClassVar[bool] = True
    """Whether an image's projection comes to point where its text does, so that one can be searched by the other."""
    default_projector: ClassVar[ProjectorKind] = "mlp"
    """The head that the objective takes where none is named."""

    def __init__(self, temperature: float = 0.1, learn_temperature: bool = False) -> None:
        super().__init__()
        check_temperature(temperature)
        self._fixed = None if learn_temperature else float(temperature)
        if learn_temperature:
            self._check_learnable(temperature)
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))

    @property
    def temperature(self) -> float | Tensor:
        """A number, or a scalar with gradient where it is learned."""
        if self._fixed is not None:
            return self._fixed
        excess = (self.log_scale.detach() - math.log(MAX_SCALE)).clamp(min=0)
        return torch.exp(excess - self.log_scale)  # the gradient passes at the limit too, so there is a way back

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        weight_B: Tensor | None = None,
        group: ProcessGroup | None = None,
        *,
        label: Tensor | None = None,
        sources: Sources | None = None,
    ) -> Tensor:
        """Arguments and result as those of the objective's function; what it does not need it does not read.

        Raises:
            ConfigError: if it needs labels and none came.
        """
        if self._fixed is None:
            with torch.no_grad():  # an optimizer's step may have gone beyond the limit; CLIP cuts it likewise
                self.log_scale.clamp_(max=math.log(MAX_SCALE))
        arguments: list[Tensor | float] = [image_BD, text_BD]
        if self.needs_labels:
            arguments.append(check_label(label, len(image_BD), type(self).function.__name__))
        if self.takes_temperature:
            arguments.append(self.temperature)
        options = {**self.options(), "sources": sources} if self.takes_sources else self.options()
        return type(self).function(*arguments, weight_B, group, **options)

    def target(self, text: Tensor) -> Tensor:
        """What a text (..., D) by itself stands for, before it is mixed with another's: its direction."""
        return normalize_targets(text)

    def options(self) -> dict[str, Any]:
        """Further arguments of the objective's function that the module holds."""
        return {}

    def extra_repr(self) -> str:
        if not self.takes_temperature:
            return ""
        return f"temperature={'learned' if self._fixed is None else self._fixed}"

    def _check_learnable(self, temperature: float) -> None:
        # a parameter that no loss reads would make DistributedDataParallel wait for its gradient
        if not self.takes_temperature:
            raise ConfigError(f"{type(self).__name__} has no temperature to learn. Leave learn_temperature out.")
        if temperature < 1 / MAX_SCALE:
            raise ConfigError(
                f"A learned temperature starts from {temperature}; its smallest value is {1 / MAX_SCALE}."
            )


def check_temperature(temperature: float | Tensor) -> None:
    """Refuse a temperature that is no positive number; a tensor is not read, which would wait for the accelerator."""
    if not isinstance(temperature, Tensor) and not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"The temperature is {temperature}; it must be a number greater than 0, usually 0.05 to 0.2.")


def check_shapes(image_BD: Tensor, text_BD: Tensor, weight_B: Tensor | None) -> None:
    """Broadcasting would turn a wrong shape into a wrong loss, so refuse it."""
    if image_BD.ndim != 2 or image_BD.shape != text_BD.shape:
        raise ConfigError(
            f"Image features have shape {tuple(image_BD.shape)} and text vectors {tuple(text_BD.shape)}; "
            "both must be (rows, dimension) and equal. Is the projector made for this encoder's dimension?"
        )
    if weight_B is not None and weight_B.shape != image_BD.shape[:1]:
        raise ConfigError(f"Weights have shape {tuple(weight_B.shape)}; it must be ({image_BD.shape[0]},), one a row.")


def check_label(label: Tensor | None, num_rows: int, objective: str) -> Tensor:
    """Return the labels, or say that the objective needs them."""
    if label is None or label.ndim not in (1, 2) or len(label) != num_rows:
        came = "none came" if label is None else f"they have shape {tuple(label.shape)}"
        raise ConfigError(
            f"The objective {objective} needs the labels of the {num_rows} images, (rows,) integers or (rows, classes) "
            f"shares; {came}."
        )
    return label


def full_precision(x: Tensor) -> torch.autocast:
    """Autocast would compute the similarities in half precision, too coarse once divided by the temperature."""
    return torch.autocast(device_type=x.device.type, enabled=False)


def prepare(
    image_BD: Tensor, text_BD: Tensor, weight_B: Tensor | None, normalize: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Rows and weights in the precision of the computation, of unit length; rows of weight 0 become zeros."""
    dtype = torch.promote_types(torch.promote_types(image_BD.dtype, text_BD.dtype), torch.float32)
    image_BD, text_BD = image_BD.to(dtype), text_BD.to(dtype)
    if weight_B is not None:
        weight_B = weight_B.to(dtype)
        present_B1 = (weight_B > 0)[:, None]
        image_BD, text_BD = torch.where(present_B1, image_BD, 0.0), torch.where(present_B1, text_BD, 0.0)
    if normalize:
        image_BD, text_BD = F.normalize(image_BD, dim=1), F.normalize(text_BD, dim=1)
    return image_BD, text_BD, weight_B


def global_mean(loss_B: Tensor, weight_B: Tensor | None, group: ProcessGroup | None) -> Tensor:
    """W * sum_local(w_i l_i) / sum_global(w_i), and 0 where there is no weight at all."""
    if weight_B is None:
        return loss_B.mean()  # all local batches have one size: W * sum_local / (W * B)
    total = gather_batch(weight_B, group).sum()
    return world_size(group) * (weight_B * loss_B).sum() / torch.where(total > 0, total, 1.0)


def in_chunks(loss_of_rows: Callable[[int, int], Tensor], num_rows: int, num_columns: int) -> Tensor:
    """Losses (B,) of all rows, computed from at most `CHUNK_PAIRS` pairs at once.

    A batch that needs several parts is computed again in the backward pass: the memory is that of one part, whatever
    the batch.

    Args:
        loss_of_rows: (start, end) of the rows -> their losses (end - start,).
        num_rows: B.
        num_columns: pairs that each row has.
    """
    size = max(1, CHUNK_PAIRS // max(1, num_columns))
    if num_rows <= size:
        return loss_of_rows(0, num_rows)
    parts = [
        checkpoint(loss_of_rows, start, min(start + size, num_rows), use_reentrant=False, preserve_rng_state=False)
        for start in range(0, num_rows, size)
    ]
    return torch.cat(parts)
