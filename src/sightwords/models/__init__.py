"""Networks by name: any classification network of timm or torchvision, as pooled features and a classifier."""

from __future__ import annotations

from typing import Any

from sightwords.errors import ConfigError, UnknownNameError
from sightwords.models.backbone import Backbone, InputSpec, normalize_images
from sightwords.models.timm_models import build_timm_backbone
from sightwords.models.torchvision_models import build_torchvision_backbone, torchvision_names
from sightwords.models.weights import pretrained_source

__all__ = ["Backbone", "InputSpec", "build_backbone", "normalize_images", "pretrained_source"]

LIBRARIES = ("timm", "torchvision")


def build_backbone(
    identifier: str,
    num_classes: int,
    image_size: int | None = None,
    weights: str | None = None,
    **kwargs: Any,
) -> Backbone:
    """Builds a network by its name.

    Args:
        identifier: "timm:NAME", "torchvision:NAME", or NAME alone, which means timm.
        num_classes: number of classes, 1 or more.
        image_size: height and width of the images in pixels; None = the network's default. Networks that are made for
            one size (most transformers) are built for this one; the others take any.
        weights: None = from scratch; "pretrained" = the library's own, downloaded; or the path of a .safetensors,
            .pth or .pt file. A classifier for another number of classes starts afresh, the rest must fit.
        **kwargs: options of the library's factory, such as drop_path_rate, depth, patch_size for timm.

    Returns:
        The network; `Backbone.kwargs` builds the same one by `timm.create_model(NAME, **kwargs)` or
        `torchvision.models.get_model(NAME, **kwargs)`.

    Raises:
        UnknownNameError: if the library or the network is not known; gives the nearest names.
        ConfigError: if a number or an option is not allowed; names it.
        ArtifactError: if a weights file cannot be read or does not fit.
        ModelError: if pretrained weights cannot be downloaded.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes}; a classifier needs 1 class or more.")
    if image_size is not None and image_size < 1:
        raise ConfigError(f"image_size is {image_size}; it must be 1 pixel or more, usually 64 to 384.")
    library, colon, name = identifier.partition(":")
    if not colon:
        hint = f"torchvision has one: torchvision:{identifier}." if identifier in torchvision_names() else ""
        return build_timm_backbone(identifier, num_classes, image_size, weights, kwargs, hint)
    if library == "timm":
        return build_timm_backbone(name, num_classes, image_size, weights, kwargs)
    if library == "torchvision":
        return build_torchvision_backbone(name, num_classes, image_size, weights, kwargs)
    raise UnknownNameError("model library", library, LIBRARIES, "Write timm:NAME, torchvision:NAME, or a timm NAME.")
