"""The method as modules, for a training loop of one's own: the objective alone, and the whole head."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sightwords.align.distributed import pad_batch, world_rank
from sightwords.align.pairs import Pairs, Positives, check_temperature, mean_loss
from sightwords.align.projector import ProjectorKind, ProjectorNorm, build_projector
from sightwords.align.registry import find_objective
from sightwords.align.targets import TargetTransform, lam_of_rows, mix_targets, normalize_targets
from sightwords.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

MAX_SCALE = 100.0
"""Largest 1 / temperature that is learned, as in CLIP, arXiv 2103.00020, section 2.5."""


class AlignmentLoss(nn.Module):
    """An objective as a module, which holds what is learned.

    A learned temperature is the logarithm of 1 / temperature, which stays at 100 at most.

    Args:
        name: one of `sightwords.align.OBJECTIVES`.
        temperature: greater than 0; objectives without one do not read it.
        learn_temperature: make it a parameter; `sigmoid` always does.
        class_text_KD: (K, D) mean text vector of each class, for `class_mean` alone; a buffer.
        settings: of the objective's function, instead of those that the name stands for.

    Raises:
        UnknownNameError: if there is no such objective.
        ConfigError: if the temperature is not allowed, there is none to learn, or class texts are missing.
    """

    class_text: Tensor | None

    def __init__(
        self,
        name: str,
        temperature: float = 0.1,
        *,
        learn_temperature: bool = False,
        class_text_KD: Tensor | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        objective = find_objective(name)
        check_temperature(temperature)
        if learn_temperature and objective.temperature == "none":
            # a parameter that no loss reads would make DistributedDataParallel wait for its gradient
            raise ConfigError(f"The objective {name} has no temperature to learn. Leave learn_temperature out.")
        learn_temperature = learn_temperature or objective.temperature == "learned"
        if learn_temperature and temperature < 1 / MAX_SCALE:
            raise ConfigError(
                f"A learned temperature starts from {temperature}; its smallest value is {1 / MAX_SCALE}."
            )
        if objective.needs_class_text and class_text_KD is None:
            raise ConfigError(
                f"The objective {name} needs class_text_KD, the mean text vector of each class; "
                "sightwords.align.class_means computes it."
            )
        self.objective, self._function = objective, objective.load()
        self._settings = {**objective.settings, **settings}
        self._fixed = None if learn_temperature else float(temperature)
        if learn_temperature:
            self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        for learned, start in objective.learned.items():
            self.register_parameter(learned, nn.Parameter(torch.tensor(start)))
        read_KD = class_text_KD if objective.needs_class_text else None
        self.register_buffer("class_text", None if read_KD is None else read_KD.detach().clone())

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
        positives: Positives | None = None,
    ) -> Tensor:
        """Loss of the global batch, scalar; see `mean_loss` for it and `Pairs` for the arguments.

        `image_BD` and `text_BD` are (B, D), in any float type; `weight_B` is (B,), and `label` (B,) or (B, K).

        Raises:
            ConfigError: if shapes do not fit, or the objective needs labels and none came.
        """
        if self._fixed is None:
            with torch.no_grad():  # an optimizer's step may have gone beyond the limit; CLIP cuts it likewise
                self.log_scale.clamp_(max=math.log(MAX_SCALE))
        pairs = Pairs(
            image_BD,
            text_BD,
            weight_B,
            group,
            temperature=self.temperature,
            label=label,
            positives=positives,
            class_text=self.class_text,
        )
        learned = {name: getattr(self, name) for name in self.objective.learned}
        return mean_loss(self._function, pairs, **self._settings, **learned)

    def extra_repr(self) -> str:
        temperature = "" if self.objective.temperature == "none" else f", temperature={self._fixed or 'learned'}"
        return f"{self.objective.path}, {self._settings}{temperature}"


class AlignmentHead(nn.Module):
    """Projector and objective: pooled image features and text vectors in, loss out. Dropped after training.

    Its parameters belong in the optimizer. With several processes wrap it, or the module that holds it, in
    DistributedDataParallel; the loss is then that of the global batch (see `sightwords.align.pairs`).

    Example:
        >>> import torch
        >>> from sightwords.align import AlignmentHead
        >>> backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 16), torch.nn.ReLU())
        >>> classifier = torch.nn.Linear(16, 5)
        >>> head = AlignmentHead(in_features=16, out_features=384, loss="clip", temperature=0.1)
        >>> parameters = [*backbone.parameters(), *classifier.parameters(), *head.parameters()]
        >>> optimizer = torch.optim.AdamW(parameters, lr=1e-3)
        >>> images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
        >>> text = torch.randn(4, 384)  # vectors of the descriptions of these images
        >>> weight = torch.tensor([1.0, 1.0, 1.0, 0.0])  # the last image has no description
        >>> features = backbone(images)
        >>> loss = torch.nn.functional.cross_entropy(classifier(features), labels) + 0.3 * head(features, text, weight)
        >>> loss.backward()
        >>> optimizer.step()

    Args:
        in_features: number of features the classifier reads.
        out_features: dimension of the text vectors.
        loss: one of `sightwords.align.OBJECTIVES`.
        temperature: of the objectives that have one, greater than 0.
        projector: "linear" or "mlp"; None = what the objective takes.
        norm: inside the MLP, "batch" for convolutional networks or "none" for transformers.
        learn_temperature: make the temperature a parameter.
        transform: what the text vectors go through first, centering for instance; None = nothing.
        class_text_KD: (K, D) mean text vector of each class, for `class_mean` alone; goes through `transform` too.

    Raises:
        ConfigError: if an argument is not allowed (UnknownNameError for a name).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        loss: str = "clip",
        temperature: float = 0.1,
        projector: ProjectorKind | None = None,
        norm: ProjectorNorm = "batch",
        *,
        learn_temperature: bool = False,
        transform: TargetTransform | None = None,
        class_text_KD: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.transform = in_features, out_features, transform
        if class_text_KD is not None and transform is not None:
            has_text_K1 = class_text_KD.square().sum(dim=-1, keepdim=True) > 0  # a class without text stays without
            class_text_KD = torch.where(has_text_K1, transform(class_text_KD), 0.0)
        is_centered = transform is not None and transform.mean is not None
        settings = {"center": False} if is_centered and "center" in find_objective(loss).settings else {}
        self.loss = AlignmentLoss(
            loss, temperature, learn_temperature=learn_temperature, class_text_KD=class_text_KD, **settings
        )
        self.projector_kind, self.projector_norm = projector or self.loss.objective.projector, norm
        self.projector = build_projector(self.projector_kind, in_features, out_features, norm)

    def forward(
        self,
        features_BF: Tensor,
        text: Tensor,
        weight_B: Tensor | None = None,
        *,
        label: Tensor | None = None,
        partner_B: Tensor | None = None,
        lam: float | Tensor | None = None,
        pad_to: int | None = None,
        group: ProcessGroup | None = None,
    ) -> Tensor:
        """Alignment loss of a batch, not yet multiplied by its weight in the whole loss.

        Args:
            features_BF: (B, F) pooled features, in any float type.
            text: (B, D) text vectors, row i describes image i; or (B, S, D), S descriptions of each image, which are
                equal positives and never negatives of one another.
            weight_B: (B,) weight of each image, 0 = no description; None = 1 for all.
            label: (B,) integer classes or (B, K) class probabilities, mixed as the images are; for objectives that
                need them.
            partner_B: (B,) integer, the row that each image is mixed with by mixup or cutmix; the text, not yet mixed,
                is mixed alike, and the partner is a known positive.
            lam: what each image keeps of itself, a number or (B,). All processes mix or none does.
            pad_to: with several processes and uneven local batches, the size of the largest, the same in every
                process; rows are padded to it after the projector. Then either all processes give it or none does.
            group: the processes that share the batch; None = the default group, if there is one.

        Returns:
            Scalar in float32 (float64 if an input is), see `sightwords.align.pairs`.

        Raises:
            ConfigError: if shapes do not fit, labels are missing, or a partner comes without lam.
        """
        if (partner_B is None) != (lam is None):
            raise ConfigError("Mixed images need partner_B and lam; only one of them came.")
        image_BD, num_texts = self.projector(features_BF), text.shape[1] if text.ndim == 3 else 1
        if self.transform is not None:
            text = self.transform(text)
        positives = None
        if partner_B is not None or num_texts > 1:
            positives = _known_positives(text, pad_to or len(text), partner_B, lam, group)
        if partner_B is not None and lam is not None:
            power = self.loss.objective.text_norm
            text = text if power is None else normalize_targets(text, power)
            text, weight_B = mix_targets(text, _ones(text) if weight_B is None else weight_B, partner_B, lam)
        pairs = Pairs(image_BD, text, weight_B, label=label, positives=positives)
        if text.ndim == 3:
            pairs = _for_each_text(pairs)
        if pad_to is not None:
            pairs = _pad(pairs, pad_to * num_texts)
        loss: Tensor = self.loss(
            pairs.image, pairs.text, pairs.weight, group, label=pairs.label, positives=pairs.positives
        )
        return loss

    def project(self, features_BF: Tensor) -> Tensor:
        """Normalized projections (B, D) in the space of the text vectors, for retrieval or inspection.

        Args:
            features_BF: (B, F) pooled features.
        """
        return normalize_targets(self.projector(features_BF))


def _known_positives(
    text: Tensor, num_rows: int, partner_B: Tensor | None, lam: float | Tensor | None, group: ProcessGroup | None
) -> Positives:
    """What the images of a batch are made of, as it comes from mixup or cutmix; no process has more than `num_rows`."""
    own_B, lam_B = world_rank(group) * num_rows + torch.arange(len(text), device=text.device), _ones(text)
    if partner_B is None or lam is None:
        return Positives(own_B[:, None], lam_B[:, None])
    lam_B = lam_of_rows(lam, lam_B)
    return Positives(torch.stack([own_B, own_B[partner_B]], 1), torch.stack([lam_B, 1 - lam_B], 1))


def _ones(text: Tensor) -> Tensor:
    return torch.ones(len(text), dtype=torch.promote_types(text.dtype, torch.float32), device=text.device)


def _for_each_text(pairs: Pairs) -> Pairs:
    """A row for each of an image's texts (B, S, D)."""
    num_texts = pairs.text.shape[1]
    rows = replace(pairs, text=pairs.text[:, 0]).map_rows(lambda x: x.repeat_interleave(num_texts, 0))
    return replace(rows, text=pairs.text.flatten(0, 1))


def _pad(pairs: Pairs, num_rows: int) -> Pairs:
    """Rows of weight 0 appended."""
    weight = _ones(pairs.text) if pairs.weight is None else pairs.weight
    return replace(pairs, weight=weight).map_rows(lambda x: pad_batch(x, num_rows))
