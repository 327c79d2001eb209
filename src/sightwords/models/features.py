"""Features from inside any network: the output of a module by its name, pooled to one vector an image.

Shapes: B images, C channels, H and W height and width, N tokens, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from sightwords.errors import ConfigError, ModelError, UnknownNameError

Channels = Literal["auto", "first", "last"]


class FeatureHook:
    """Keeps what a module gave in the last forward pass, with its graph, until it is removed.

    So that any network can be aligned to text, detectors and segmenters too:

        hook = FeatureHook(detector, "backbone.body")
        losses = detector(images, targets)
        alignment = head(hook.features, text)

    What was kept is never copied or pickled, so a network with hooks can be. It must not run in two threads at once.

    Args:
        network: the whole network.
        name: of the module within it, "backbone.layer4".
        channels: where the channels of a map with four axes are. "auto" takes the last axis where the two before it
            are equal and it differs from them (Swin and others, with square images), else the first.
        num_prefix_tokens: tokens at the start of a sequence that stand for no place in the image, such as the class
            token; None = what the network says of itself.

    Raises:
        UnknownNameError: there is no such module.
        ConfigError: `channels` is not known.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        channels: Channels = "auto",
        num_prefix_tokens: int | None = None,
    ) -> None:
        modules = dict(network.named_modules())
        if name not in modules or not name:
            raise UnknownNameError("module", name, [known for known in modules if known])
        if channels not in ("auto", "first", "last"):
            raise ConfigError(f"channels is {channels!r}; it must be auto, first or last.")
        self.name, self.channels, self.armed = name, channels, True
        own = int(getattr(network, "num_prefix_tokens", int(hasattr(network, "class_token"))))
        self.num_prefix_tokens = own if num_prefix_tokens is None else num_prefix_tokens
        self.output: Any = None
        self._handle = modules[name].register_forward_hook(self)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.armed:
            self.output = output

    @property
    def features(self) -> Tensor:
        """The last output as (B, F): maps averaged over their places, tokens over all but the prefix.

        Raises:
            ModelError: the module did not run, or gave nothing that can be pooled.
        """
        output = self.output
        if isinstance(output, Mapping) and len(output) == 1:
            output = next(iter(output.values()))
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
            raise ModelError(self._complaint(output))
        if output.ndim == 2:
            return output
        if output.ndim == 3:
            return output[:, self.num_prefix_tokens if output.shape[1] > self.num_prefix_tokens else 0 :].mean(1)
        return output.mean((1, 2) if self._channels_are_last(output) else (2, 3))

    def remove(self) -> None:
        """Take the hook off the network and forget what it kept."""
        self._handle.remove()
        self.output = None

    def __enter__(self) -> FeatureHook:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "output": None}

    def _channels_are_last(self, output: Tensor) -> bool:
        if self.channels == "auto":
            first, second, third = output.shape[1:]
            return first == second != third
        return self.channels == "last"

    def _complaint(self, output: object) -> str:
        if output is None:
            return f"The module {self.name!r} did not run. Name a module that takes part in the forward pass."
        kind = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        inside = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        return (
            f"The module {self.name!r} gives {kind}{inside}; features must be a tensor (B, F), (B, N, F) or a map with "
            "four axes. Name another module, or one inside it."
        )


class InputHook(FeatureHook):
    """Keeps what a module read, in place of what it gave."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        super().__call__(module, args, args[0])
