"""Where a library's own pretrained weights come from, and their license where the library names it."""

from __future__ import annotations

import torchvision

from sightwords.backbones.backbone import Backbone

_SWAG_LICENSE = "cc-by-nc-4.0"  # as torchvision's README says of these weights, which name a license by its address


def pretrained_source(backbone: Backbone) -> tuple[str, str | None]:
    """Return name and license of the weights that `pretrained` gives a network.

    timm names a license for most of its weights. torchvision names one for SWAG weights alone, and says of the others
    that they may have terms of their own, from the data that they were trained on.

    Args:
        backbone: the network.

    Returns:
        The weights' name, "timm:resnet50.a1_in1k", and their license as the Hugging Face hub writes it, None where the
        library does not know it.
    """
    library, _, name = backbone.identifier.partition(":")
    if library == "timm":
        config = backbone.network.pretrained_cfg
        assert isinstance(config, dict)
        tagged = ".".join(part for part in (config.get("architecture") or name, config.get("tag")) if part)
        license = config.get("license")
        return f"timm:{tagged}", None if license in (None, "unknown") else str(license)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    is_swag = "SWAG" in str(weights.meta.get("license", ""))
    return f"torchvision:{name}/{weights.name}", _SWAG_LICENSE if is_swag else None
