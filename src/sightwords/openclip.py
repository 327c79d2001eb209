"""Models of open_clip by name: the one place that loads them.

`MODEL/TAG` takes published weights (`ViT-B-32/laion2b_s34b_b79k`), `MODEL/PATH` a local checkpoint. The first slash
ends the model's name, so an absolute path gives two (`ViT-B-32//home/me/my.pt`). `local-dir:FOLDER` takes a folder with
`open_clip_config.json` and weights, `hf-hub:ORG/NAME` the same from the hub.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightwords.errors import ConfigError, MissingExtraError, UnknownNameError
from sightwords.hub import cannot_load, require_hub

_SCHEMES = ("local-dir:", "hf-hub:")


@dataclass(frozen=True)
class Clip:
    """A model with its tokenizer and what turns an image into its input."""

    model: Any
    tokenizer: Any
    preprocess: Any


def _parse(name: str) -> tuple[str, str | None]:
    """Return open_clip's name of the model and its weights: a tag, a file, or None where the name is enough.

    Raises:
        ConfigError: one of the two is missing.
        UnknownNameError: there is no such model, or no such weights for it.
    """
    try:
        import open_clip
    except ImportError:
        raise MissingExtraError("open_clip_torch", "openclip") from None
    scheme = next((scheme for scheme in _SCHEMES if name.startswith(scheme)), None)
    if scheme:
        if scheme == "local-dir:" and not Path(name.removeprefix(scheme)).is_dir():
            raise ConfigError(f"openclip:{name} names no folder. It must hold open_clip_config.json and the weights.")
        return name, None
    model, _, weights = name.partition("/")
    if model not in open_clip.list_models():
        raise UnknownNameError("open_clip model", model, open_clip.list_models(), "Or use openclip:local-dir:FOLDER.")
    if not weights or not (open_clip.get_pretrained_cfg(model, weights) or Path(weights).is_file()):
        raise UnknownNameError(
            f"weights of {model}",
            weights,
            open_clip.list_pretrained_tags_by_model(model) or ["(none published)"],
            f"Or give a checkpoint file: openclip:{model}/relative/path.pt or openclip:{model}//absolute/path.pt.",
        )
    return model, weights


def load_clip(name: str, what: str, other_ways: str) -> Clip:
    """Return a model on the CPU in float32.

    Args:
        name: MODEL/TAG, MODEL/PATH, local-dir:FOLDER or hf-hub:ORG/NAME.
        what: what is loaded, in words, for errors.
        other_ways: what else the user can do.

    Raises:
        MissingExtraError: open_clip is not installed.
        ConfigError: the name lacks a part.
        UnknownNameError: there is no such model, or no such weights for it.
        ModelError: the weights cannot be fetched or loaded.
    """
    model, weights = _parse(name)
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if repository := _hub_repository(model, weights):
        require_hub(repository, what, other_ways)
    try:
        tokenizer = open_clip.get_tokenizer(model)
        # a model without its weights would give vectors that mean nothing
        network = open_clip.create_model(model, pretrained=weights, device="cpu", require_pretrained=True)
    except Exception as error:  # a model's files can be wrong in any way; the library has no error of its own
        raise cannot_load(what, error, other_ways) from None
    preprocess = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    return Clip(network, tokenizer, preprocess)


def _hub_repository(model: str, weights: str | None) -> str | None:
    import open_clip

    if weights is None:
        return model.removeprefix("hf-hub:") if model.startswith("hf-hub:") else None
    published = open_clip.get_pretrained_cfg(model, weights)
    return str(published.get("hf_hub") or "").strip("/") or None
