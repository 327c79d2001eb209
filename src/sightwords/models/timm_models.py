"""Networks of timm."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from sightwords.errors import ConfigError, ModelError, UnknownNameError
from sightwords.models.backbone import Backbone, InputSpec, call_factory, find_classifier
from sightwords.models.weights import OFFLINE, load_weights


def build_timm_backbone(
    name: str,
    num_classes: int,
    image_size: int | None,
    weights: str | None,
    kwargs: Mapping[str, Any],
    hint: str = "",
) -> Backbone:
    """Build a network of timm, whose name may hold the tag of its weights; see `sightwords.models.build_backbone`.

    `hint` is a sentence to add if the name is not known.
    """
    _check_name(name, hint)
    pretrained = weights == "pretrained"
    factory = functools.partial(_create, name, pretrained)
    kwargs = {**kwargs, "num_classes": num_classes}
    sized = kwargs if image_size is None else {**kwargs, "img_size": image_size}
    try:
        network = call_factory(factory, f"timm:{name}", sized)
    except ConfigError as error:
        # networks that take any size refuse the argument, before they draw random numbers
        if not (isinstance(error.__cause__, TypeError) and "img_size" in str(error.__cause__)):
            raise
        sized = kwargs
        network = call_factory(factory, f"timm:{name}", kwargs)
    classifiers = _classifier_names(network)
    classifier = find_classifier(network, num_classes, classifiers)
    if weights is not None and not pretrained:
        load_weights(network, Path(weights), [*classifiers, classifier], _adapt)
    return Backbone(
        network,
        classifier,
        identifier=f"timm:{name}",
        kwargs=sized,
        input_spec=_input_spec(network, image_size or sized.get("img_size")),
    )


def _check_name(name: str, hint: str) -> None:
    if not timm.is_model(name):
        raise UnknownNameError("timm model", name, timm.list_models(), hint)
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        architecture = name.partition(".")[0]
        tagged = timm.list_models(f"{architecture}.*", pretrained=True)
        raise UnknownNameError("timm model", name, [architecture, *tagged]) from error


def _create(name: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    """timm's factory. While it fetches weights, failures of every kind are failures to get them."""
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **kwargs)
    except Exception as error:
        if not pretrained or (isinstance(error, TypeError) and "keyword argument" in str(error)):
            raise
        raise ModelError(f"timm cannot provide the weights of {name} ({error}). {OFFLINE}") from error
    return network


def _classifier_names(network: nn.Module) -> list[str]:
    """Where timm says the classifiers are; several for distilled networks."""
    names: str | Sequence[str] | None = network.pretrained_cfg.get("classifier")  # type: ignore[union-attr, operator]
    return [names] if isinstance(names, str) else list(names or ())


def _adapt(state: dict[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """timm's own rewriting for the network's family: the authors' names, position embeddings of another size."""
    rewrite = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if rewrite is None:
        return state
    try:
        rewritten: Mapping[str, Tensor] = rewrite(dict(state), network)
    except Exception:  # weights of something else can make it fail anywhere; that they do not fit is reported later
        return state
    return rewritten


def _input_spec(network: nn.Module, image_size: object) -> InputSpec:
    config = timm.data.resolve_model_data_config(network)
    if image_size is not None and not isinstance(image_size, int):
        raise ConfigError(f"img_size={image_size!r}: give a single number, the height and width in pixels.")
    return InputSpec(
        image_size=image_size or config["input_size"][-1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"],
    )
