"""A plain classification network, seen as pooled features and a classifier.

Shapes, as suffixes of names: B images, C channels, H and W height and width, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightwords.errors import ConfigError, ModelError
from sightwords.images.transforms import InputSize
from sightwords.models.features import FeatureHook, InputHook


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


def call_factory(factory: Callable[..., nn.Module], identifier: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Return the network that a library's factory builds.

    Raises:
        ConfigError: the factory refuses an argument.
    """
    try:
        return factory(**kwargs)
    except (TypeError, ValueError, AssertionError, KeyError, NotImplementedError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in kwargs.items())
        message = f"{identifier} cannot be built with {given}: {type(error).__name__}: {error}"
        raise ConfigError(message) from error


_DENSE = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class InputSpec(InputSize):
    """What images a network expects: their size, and `mean` and `std` by which values from 0 to 1 are normalized."""

    std: tuple[float, ...] = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Wraps a stock network so that one forward pass gives its pooled features too.

    The features are what the classifier reads, taken by a forward hook on the classifier during the network's
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

    Raises:
        ConfigError: the classifier is no such layer.
    """

    def __init__(
        self,
        network: nn.Module,
        classifier: str,
        *,
        identifier: str,
        kwargs: Mapping[str, Any],
        input_spec: InputSpec,
    ) -> None:
        super().__init__()
        self.network = network
        self.classifier_name = classifier
        self.num_features, self.num_classes = _dense_size(self.classifier, classifier)
        self.identifier = identifier
        self.kwargs = dict(kwargs)
        self.input_spec = input_spec
        self.is_transformer = has_transformer_norm(network)
        self._read = InputHook(network, classifier)
        self._read.armed = False
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
        self.features_name = features
        if self._hooks:
            self.num_features = self.trial().shape[1]
        self.layer_widths = {name: self._hooks[name].features.shape[1] for name in layers}
        return self

    def trial(self) -> Tensor:
        """Return the feature of two black images, by a forward pass in evaluation mode that changes nothing."""
        modes = {module: module.training for module in self.modules()}
        size, parameter = self.input_spec.image_size, next(self.parameters())
        features: Tensor = self.eval()(torch.zeros(2, 3, size, size, device=parameter.device, dtype=parameter.dtype))[0]
        for module, mode in modes.items():
            module.training = mode
        return features

    @property
    def layer_features(self) -> dict[str, Tensor]:
        """Pooled outputs (B, F) of the layers in the last forward pass, by name."""
        return {name: self._hooks[name].features for name in self.layer_widths}

    @property
    def classifier(self) -> nn.Module:
        """The layer that turns features into logits."""
        return self.network.get_submodule(self.classifier_name)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F) and logits (B, K) of images (B, C, H, W), normalized as `input_spec` says.

        Raises:
            ModelError: the network does not give logits, or its classifier reads no pooled features.
        """
        hooks = [self._read, *self._hooks.values()]
        for hook in hooks:
            hook.output, hook.armed = None, True
        logits_BK = self.network(images_BCHW)
        for hook in hooks:
            hook.armed = False
        if not isinstance(logits_BK, Tensor):
            raise ModelError(
                f"{self.identifier} gives a {type(logits_BK).__name__} in place of logits, probably from auxiliary "
                "classifiers. Switch them off (for torchvision: aux_logits=False)."
            )
        if self.features_name is not None:
            return self._hooks[self.features_name].features, logits_BK
        return self._pool(self._read.output), logits_BK

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Load the plain network's own weights, every name and shape equal.

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
        """Return what the classifier read, as (B, F): a convolution's map is averaged over its height and width."""
        if read is None:
            raise ModelError(f"{self.identifier} did not run its classifier. Was it replaced after it was wrapped?")
        if read.ndim == 4 and isinstance(self.classifier, nn.Conv2d):
            return read.mean(dim=(2, 3))
        if read.ndim != 2:
            raise ModelError(
                f"The classifier of {self.identifier} reads a tensor of shape {tuple(read.shape)}, not pooled features "
                "(B, F). Build the network with pooling (for timm: global_pool='avg')."
            )
        return read


def find_classifier(network: nn.Module, num_classes: int, names: Iterable[str] = ()) -> str:
    """Return the name of the layer that gives a network's logits.

    Of several `names` that the network's library knows (distilled networks, networks with branches) it is the one with
    the most inputs, the first if they are equal; else the last Linear or Conv2d with `num_classes` outputs.

    Raises:
        ModelError: there is none.
    """
    dense = {name: _dense_size(module, name) for name, module in network.named_modules() if isinstance(module, _DENSE)}
    fitting: dict[str, int] = {name: sizes[0] for name, sizes in dense.items() if sizes[1] == num_classes}
    if named := [name for name in names if name in fitting]:
        return max(named, key=lambda name: fitting[name])
    if not fitting:
        raise ModelError(
            f"{type(network).__name__} has no linear layer or convolution with {num_classes} outputs, so it is no "
            "classification network of the expected shape. Choose another network."
        )
    return list(fitting)[-1]


def has_transformer_norm(network: nn.Module) -> bool:
    """Whether a network normalizes by layers (LayerNorm, RMSNorm), as transformers do, and nowhere by batches.

    Such networks get a projector without BatchNorm. ConvNeXt counts as a transformer here, MaxViT does not.
    """
    names = {kind.__name__ for module in network.modules() for kind in type(module).__mro__}
    by_layers = any(name.startswith(("LayerNorm", "RMSNorm", "RmsNorm")) for name in names)
    return by_layers and not any("BatchNorm" in name for name in names)


def _dense_size(module: nn.Module, name: str) -> tuple[int, int]:
    """Return the numbers of inputs and outputs of a Linear or Conv2d."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, nn.Conv2d):
        return module.in_channels, module.out_channels
    raise ConfigError(f"The classifier {name!r} is a {type(module).__name__}; it must be a Linear or a Conv2d.")
