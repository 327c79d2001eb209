"""A plain classification network, seen as pooled features and a classifier.

Shapes, as suffixes of names: B images, C channels, H and W height and width, F features, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightwords.errors import ConfigError, ModelError
from sightwords.models.features import FeatureHook, measure


def normalize_images(images_BCHW: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (images / 255 - mean) / std, float32, shape (B, 3, H, W), on the images' device and in their format.

    Args:
        images_BCHW: uint8, (B, 3, H, W).
        mean: channel means of values in [0, 1].
        std: channel standard deviations, likewise.
    """
    shift = torch.tensor(mean, device=images_BCHW.device).view(1, 3, 1, 1) * 255
    scale = 1 / (torch.tensor(std, device=images_BCHW.device).view(1, 3, 1, 1) * 255)
    # in place: fresh memory cost more than the arithmetic
    return images_BCHW.float().sub_(shift).mul_(scale)


def call_factory(
    factory: Callable[..., nn.Module],
    identifier: str,
    kwargs: Mapping[str, Any],
    size_kwargs: Sequence[Mapping[str, Any]],
) -> tuple[nn.Module, dict[str, Any]]:
    """Builds a network; returns it with all keyword arguments that it was built with.

    Args:
        factory: builds the network from keyword arguments.
        identifier: the network's name, for messages.
        kwargs: keyword arguments in any case.
        size_kwargs: ways to state the image size; the first that the factory takes counts. Factories refuse unknown
            arguments before they draw random numbers, so trying leaves the initial weights as they would be.

    Raises:
        ConfigError: the factory refuses an argument.
    """
    for size in size_kwargs:
        try:
            return factory(**kwargs, **size), {**kwargs, **size}
        except TypeError as error:
            refused = _refused_argument(error)
            if refused is None or refused not in size:
                raise _refusal(identifier, kwargs, error) from error
        except (ValueError, AssertionError, KeyError, NotImplementedError) as error:
            raise _refusal(identifier, {**kwargs, **size}, error) from error
    raise AssertionError("no way to state the image size was given")


def _refused_argument(error: TypeError) -> str | None:
    # Python's own words, and those of some factories that check by themselves
    found = re.search(r"argument(?:\(s\): \[)? ?'(\w+)'", str(error))
    return found.group(1) if found else None


def _refusal(identifier: str, kwargs: Mapping[str, Any], error: Exception) -> ConfigError:
    refused = _refused_argument(error) if isinstance(error, TypeError) else None
    if refused is not None:
        return ConfigError(f"{identifier} does not take the option {refused!r} ({error}). Leave it out.")
    given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
    return ConfigError(f"{identifier} cannot be built with {given}: {type(error).__name__}: {error}")


_DENSE = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class InputSpec:
    """What images a network expects."""

    image_size: int
    """Height and width, pixels."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from each channel, of pixel values from 0 to 1."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Divides each channel, after the mean was subtracted."""
    interpolation: str = "bicubic"
    """How images are resized: nearest, bilinear, bicubic or lanczos."""
    crop_pct: float = 0.875
    """In evaluation, the part of the resized shorter side that the center crop keeps."""


class Backbone(nn.Module):
    """Wraps a stock network so that one forward pass gives its pooled features too.

    The features are what the classifier reads, taken by a forward pre-hook on the classifier during the network's
    ordinary forward pass. The network is not changed: its parameters, its `state_dict()` and its logits are the stock
    ones, and the hook does nothing when the network is called by itself. In training mode the features are behind the
    dropout that some networks have before the classifier.

    Copies (`copy.deepcopy`, timm's ModelEmaV3), DistributedDataParallel and torch.compile work as for any module.
    A Backbone must not run in two threads at once.

    Args:
        network: the plain network, images (B, C, H, W) -> logits (B, K).
        classifier: name within `network` of the linear layer (or convolution) that gives the logits.
        identifier: the network's name, "timm:resnet18".
        kwargs: what the library's factory needs to build the network again, `num_classes` included.
        input_spec: the images the network expects.
        new_names: names of the parameters that weights from elsewhere did not fit, and which start afresh.

    Raises:
        ConfigError: if `network` has no such layer.
    """

    def __init__(
        self,
        network: nn.Module,
        classifier: str,
        *,
        identifier: str,
        kwargs: Mapping[str, Any],
        input_spec: InputSpec,
        new_names: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.classifier_name = classifier
        self.num_features, self.num_classes = _dense_size(self.classifier, classifier)
        self.identifier = identifier
        self.kwargs = dict(kwargs)
        self.input_spec = input_spec
        self.new_names = new_names
        self.is_transformer = has_transformer_norm(network)
        self._capture = _Capture()
        self.classifier.register_forward_pre_hook(self._capture)
        self.features_name: str | None = None
        self.layer_widths: dict[str, int] = {}
        self._hooks: dict[str, FeatureHook] = {}

    def take(self, features: str | None = None, layers: Sequence[str] = ()) -> Backbone:
        """Take features elsewhere in the network too, by hooks on its modules; return this backbone.

        Args:
            features: module whose pooled output is the feature, in place of what the classifier reads.
            layers: modules whose pooled outputs `layer_features` holds after each forward pass.

        Raises:
            UnknownNameError: the network has no such module.
            ModelError: a module does not run, or gives no tensor that can be pooled.
        """
        for name in (*layers, *([features] if features else [])):
            if name not in self._hooks:
                self._hooks[name] = FeatureHook(self.network, name)
        widths = measure(self.network, self._hooks, self.input_spec.image_size)
        if features is not None:
            self.features_name, self.num_features = features, widths[features]
        self.layer_widths = {name: widths[name] for name in layers}
        return self

    @property
    def layer_features(self) -> dict[str, Tensor]:
        """Pooled outputs (B, F) of the layers in the last forward pass, by name."""
        return {name: self._hooks[name].features for name in self.layer_widths}

    @property
    def classifier(self) -> nn.Module:
        """The layer that turns features into logits."""
        return self.network.get_submodule(self.classifier_name)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features and logits.

        Args:
            images_BCHW: (B, C, H, W), normalized as `input_spec` says.

        Returns:
            (B, F) features, F = `num_features`, and (B, K) logits, K = `num_classes`.

        Raises:
            ModelError: if the network does not give logits, or its classifier reads no pooled features.
        """
        self._capture.armed = True
        for hook in self._hooks.values():
            hook.armed = True
        logits_BK = self.network(images_BCHW)
        read = self._capture.release()
        for hook in self._hooks.values():
            hook.armed = False
        if not isinstance(logits_BK, Tensor):
            raise ModelError(
                f"{self.identifier} gives a {type(logits_BK).__name__} in place of logits, probably from auxiliary "
                "classifiers. Switch them off (for torchvision: aux_logits=False)."
            )
        if self.features_name is not None:
            return self._hooks[self.features_name].features, logits_BK
        return self._pool(read), logits_BK

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load the plain network's own weights, every name and shape equal.

        Args:
            weights: as `network.state_dict()` gives them; a plain dictionary from a safetensors file will do.

        Raises:
            RuntimeError: a name or a shape differs.
        """
        # into a state of its own: torchvision's MNASNet refuses one without version numbers, which no file holds
        state = self.network.state_dict()
        if odd := sorted(state.keys() ^ weights.keys()):
            raise RuntimeError(f"these names differ: {', '.join(odd[:3])}")
        state.update(weights)
        self.network.load_state_dict(state, strict=True)

    def _pool(self, read: Tensor | None) -> Tensor:
        """What the classifier read, as (B, F): a convolution's map is averaged over its height and width."""
        if read is None:
            raise ModelError(f"{self.identifier} did not run its classifier. Was it replaced after it was wrapped?")
        if read.ndim == 4 and isinstance(self.classifier, nn.Conv2d):
            return read.flatten(1) if read.shape[2:] == (1, 1) else read.mean(dim=(2, 3))
        if read.ndim != 2:
            raise ModelError(
                f"The classifier of {self.identifier} reads a tensor of shape {tuple(read.shape)}, not pooled features "
                "(B, F). Build the network with pooling (for timm: global_pool='avg')."
            )
        return read


class _Capture:
    """Forward pre-hook that keeps what a module reads, once, when it was armed.

    An object of its own, and not a method of Backbone: a deep copy of the network copies the hook with it, and a deep
    copy of the Backbone makes network and Backbone share the copied hook. What was read is never copied or pickled.
    """

    armed = False
    read: Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        if self.armed:
            self.read = args[0]

    def release(self) -> Tensor | None:
        read, self.read, self.armed = self.read, None, False
        return read

    def __getstate__(self) -> dict[str, Any]:
        return {}


def find_classifier(network: nn.Module, num_classes: int, names: Iterable[str] = ()) -> str:
    """Name of the layer that gives a network's logits.

    Args:
        network: a classification network.
        num_classes: number of its logits.
        names: where the network's library says its classifiers are, if it does. Of several (distilled networks,
            networks with branches) the one with the most inputs is taken, the first if they are equal.

    Returns:
        The name, of a layer among `names` or else of the last Linear or Conv2d with `num_classes` outputs.

    Raises:
        ModelError: there is none.
    """
    dense = {name: _dense_size(module, name) for name, module in network.named_modules() if isinstance(module, _DENSE)}
    fitting: dict[str, int] = {
        name: num_inputs for name, (num_inputs, num_outputs) in dense.items() if num_outputs == num_classes
    }
    if named := [name for name in names if name in fitting]:
        return max(named, key=lambda name: fitting[name])
    if not fitting:
        raise ModelError(
            f"{type(network).__name__} has no linear layer or convolution with {num_classes} outputs, so it is no "
            "classification network of the expected shape. Choose another network."
        )
    return list(fitting)[-1]


def has_transformer_norm(network: nn.Module) -> bool:
    """Whether a network normalizes as transformers do: by layers (LayerNorm, RMSNorm), and nowhere by batches.

    Decides between a projector with BatchNorm and one without. ConvNeXt counts as a transformer here, MaxViT does not.
    """
    modules = list(network.modules())
    batch_norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    if any(isinstance(module, batch_norms) for module in modules):
        return False
    return any(isinstance(m, nn.LayerNorm | nn.RMSNorm) or type(m).__name__.startswith("RmsNorm") for m in modules)


def _dense_size(module: nn.Module, name: str) -> tuple[int, int]:
    """Numbers of inputs and outputs of a Linear or Conv2d."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels
    raise ConfigError(f"The classifier {name!r} is a {type(module).__name__}; it must be a Linear or a Conv2d.")
