"""Networks of torchvision."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings

from sightwords.errors import ConfigError, ModelError, UnknownNameError
from sightwords.models.backbone import Backbone, InputSpec, call_factory, find_classifier
from sightwords.models.weights import OFFLINE, fit_weights, load_weights

_WITH_AUXILIARY = ("googlenet", "inception_v3")
# read by the builder and not by the class
_BUILDER_KWARGS = {"MobileNetV3": ("width_mult", "reduced_tail", "dilated")}


def torchvision_names() -> list[str]:
    """Return the names of torchvision's classification networks."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def build_torchvision_backbone(
    name: str, num_classes: int, image_size: int | None, weights: str | None, kwargs: Mapping[str, Any]
) -> Backbone:
    """Build a classification network of torchvision; see `sightwords.models.build_backbone`.

    GoogLeNet and Inception v3 are built without their auxiliary classifiers; pretrained weights are the newest.
    """
    if name not in torchvision_names():
        raise UnknownNameError("torchvision model", name, torchvision_names())
    kwargs = {**kwargs, **_size_kwargs(name, image_size), "num_classes": num_classes}
    if name in _WITH_AUXILIARY:
        # auxiliary classifiers would add logits in training, an initialization that is not chosen is warned about, and
        # the weights were ported from networks with other pixel statistics
        is_ported = weights == "pretrained"
        kwargs = {"aux_logits": False, "init_weights": True, "transform_input": is_ported, **kwargs}
    network = call_factory(functools.partial(torchvision.models.get_model, name), f"torchvision:{name}", kwargs)
    _check_kwargs(network, name, kwargs)
    classifier = find_classifier(network, num_classes)
    _load(network, name, classifier, weights)
    return Backbone(
        network,
        classifier,
        identifier=f"torchvision:{name}",
        kwargs=kwargs,
        input_spec=_input_spec(name, image_size or getattr(network, "image_size", None)),
    )


def _size_kwargs(name: str, image_size: int | None) -> dict[str, Any]:
    """Return how the builder takes the image size; not by trial, since some builders ignore what they do not know."""
    if image_size is not None and name.startswith("vit_"):
        return {"image_size": image_size}
    if image_size is not None and name.startswith("maxvit_"):
        return {"input_size": (image_size, image_size)}
    return {}


def _check_kwargs(network: nn.Module, name: str, kwargs: Mapping[str, Any]) -> None:
    """Refuse options that a network's class swallows and ignores (MobileNetV3, ConvNeXt)."""
    parameters = inspect.signature(type(network).__init__).parameters
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = {*parameters, *_BUILDER_KWARGS.get(type(network).__name__, ())}
    for unknown in set(kwargs) - known:
        raise ConfigError(f"torchvision:{name} does not take the option {unknown!r}. Leave it out.")


def _load(network: nn.Module, name: str, classifier: str, weights: str | None) -> None:
    if weights is None:
        return
    if weights != "pretrained":
        load_weights(network, Path(weights), [classifier], _adapt)
        return
    try:
        # torchvision gives its weights in a network of their own number of classes only
        source: nn.Module = torchvision.models.get_model(name, weights="DEFAULT")
    except Exception as error:
        raise ModelError(f"torchvision cannot provide the weights of {name} ({error}). {OFFLINE}") from error
    fit_weights(network, source.state_dict(), [classifier], _adapt, f"torchvision's weights of {name}")


def _adapt(state: dict[str, Tensor], network: nn.Module) -> Mapping[str, Tensor]:
    """Position embeddings of a ViT trained at another image size, resized as torchvision does."""
    if not isinstance(network, VisionTransformer) or "encoder.pos_embedding" not in state:
        return state
    resized: Mapping[str, Tensor] = interpolate_embeddings(network.image_size, network.patch_size, dict(state))
    return resized


def _input_spec(name: str, image_size: int | None) -> InputSpec:
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return InputSpec(
        image_size=image_size or transform.crop_size[0],
        mean=tuple(transform.mean),
        std=tuple(transform.std),
        interpolation=transform.interpolation.value,
        crop_pct=transform.crop_size[0] / transform.resize_size[0],
    )
