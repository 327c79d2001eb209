"""Models on the Hugging Face hub or on disk: whether they can be had, what identifies them, and where they run.

Models of open_clip by name, for `load_clip`: `MODEL/TAG` takes published weights (`ViT-B-32/laion2b_s34b_b79k`),
`MODEL/PATH` a local checkpoint. The first slash ends the model's name, so an absolute path gives two
(`ViT-B-32//home/me/my.pt`). `local-dir:FOLDER` takes a folder with `open_clip_config.json` and weights,
`hf-hub:ORG/NAME` the same from the hub.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightwords.errors import ConfigError, MissingExtraError, ModelError, UnknownNameError

if TYPE_CHECKING:
    import torch

_MODEL_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".safetensors", ".bin"}
_OTHER_FORMATS = {"onnx", "openvino"}  # copies of the weights that are not loaded here
_SMALL, _BLOCK, _NUM_BLOCKS = 32 * 2**20, 64 * 2**10, 64  # bytes, bytes


def choose_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is a GPU where there is one.

    Under torchrun (`LOCAL_RANK` is set) `auto` and `cuda` are the GPU of this process's local rank.

    Raises:
        ConfigError: it is not a device, or not one of this machine.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    rank = os.environ.get("LOCAL_RANK", "")
    if device == "cuda" and rank.isdecimal():
        device = f"cuda:{rank}"
        if int(rank) >= torch.cuda.device_count():
            raise ConfigError(
                f"This is process {rank} (counted from 0) of this machine, which has {torch.cuda.device_count()} GPUs. "
                "Start torchrun with --nproc-per-node no larger than that, or use --device cpu."
            )
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"--device {device} cannot be used: {reason}. Use auto, cpu, cuda, cuda:N or mps.") from None


def require_hub(name: str, what: str, other_ways: str) -> None:
    """Fail at once where the hub has no model `name` or cannot be reached, instead of after minutes of retries.

    A model of which anything lies in the cache passes: its library knows best whether that is enough.

    Args:
        name: the model's name on the hub.
        what: what is loaded, in words.
        other_ways: what else the user can do.

    Raises:
        ModelError: the hub does not answer, or has no such model.
    """
    from huggingface_hub import HfApi, constants

    if (Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}").is_dir():
        return
    try:
        HfApi().model_info(name, timeout=10)
    except Exception as error:  # the hub's library has its own errors, and passes on those of its HTTP library
        raise cannot_load(what, error, other_ways) from None


def cannot_load(what: str, error: Exception, other_ways: str) -> ModelError:
    """Return the error to raise where a model cannot be fetched or loaded."""
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return ModelError(f"Cannot load {what}: {reason.rstrip('. ')}. {other_ways}")


def weights_hash(module: torch.nn.Module) -> str:
    """Return a SHA-256 of a module's parameters and buffers, by name and bytes."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def folder_hash(folder: Path) -> str:
    """Return a SHA-256 of the weights, tokenizer and settings in a model's folder; its place does not count.

    Small files count whole. Of large ones (the weights) the size and 64 blocks spread evenly over the file count:
    another training run changes every block, and reading 100 GB to name a model would take minutes.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part in _OTHER_FORMATS for part in parts)
        if hidden or path.suffix.lower() not in _MODEL_SUFFIXES or not path.is_file():
            continue
        size = path.stat().st_size
        digest.update(f"{'/'.join(parts)}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= _SMALL:
                digest.update(file.read())
                continue
            for i in range(_NUM_BLOCKS):
                file.seek((size - _BLOCK) * i // (_NUM_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def card_license(folder: Path | None) -> str | None:
    """Return the license that the model card in a folder names; None where there is no card, or none in it."""
    import yaml
    from huggingface_hub import metadata_load

    if folder is None or not (folder / "README.md").is_file():
        return None
    try:
        named = metadata_load(folder / "README.md") or {}
    except (ValueError, yaml.YAMLError):  # no valid text, or no table
        return None
    # "other" says nothing by itself
    return named.get("license_name") if named.get("license") == "other" else named.get("license")


_SCHEMES = ("local-dir:", "hf-hub:")


@dataclass(frozen=True)
class Clip:
    """A model with its tokenizer and what turns an image into its input."""

    model: Any
    tokenizer: Any
    preprocess: Any


def _parse(name: str) -> tuple[str, str | None]:
    """Return open_clip's name of the model and its weights: a tag, a file, or None where the name is enough."""
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
    """Return a model on the CPU in float32; `what` and `other_ways` as for `require_hub`.

    Raises:
        MissingExtraError: open_clip is not installed.
        ConfigError: the name lacks a part.
        UnknownNameError: there is no such model, or no such weights for it.
        ModelError: the weights cannot be fetched or loaded.
    """
    model, weights = _parse(name)
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if weights is None:
        repository = model.partition("hf-hub:")[2]
    else:
        repository = str(open_clip.get_pretrained_cfg(model, weights).get("hf_hub") or "").strip("/")
    if repository:
        require_hub(repository, what, other_ways)
    try:
        tokenizer = open_clip.get_tokenizer(model)
        # a model without its weights would give vectors that mean nothing
        network = open_clip.create_model(model, pretrained=weights, device="cpu", require_pretrained=True)
    except Exception as error:  # a model's files can be wrong in any way; the library has no error of its own
        raise cannot_load(what, error, other_ways) from None
    preprocess = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    return Clip(network, tokenizer, preprocess)
