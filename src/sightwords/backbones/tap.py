"""Features from inside a network: the output of a module by its name, pooled to one vector an image.

Shapes: B images, C channels, H and W height and width, N tokens, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sightwords.errors import ModelError, UnknownNameError


class Tap:
    """Forward hook that keeps a module's output while it is armed.

    What was kept is never copied or pickled, so a network with taps can be.

    Args:
        network: the whole network.
        name: of the module within it.

    Raises:
        UnknownNameError: there is no such module.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        modules = dict(network.named_modules())
        if name not in modules or not name:
            raise UnknownNameError("module", name, [known for known in modules if known])
        self.name, self.armed, self.channel_axis = name, False, 1
        self.output: Any = None
        # tokens that stand for no place in the image, such as the class token
        self.num_prefix_tokens = int(getattr(network, "num_prefix_tokens", int(hasattr(network, "class_token"))))
        modules[name].register_forward_hook(self)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self.armed:
            self.output = output

    def pooled(self) -> Tensor:
        """Return the last output as (B, F): maps averaged over their places, tokens over all but the prefix.

        Raises:
            ModelError: the module did not run, or gave no tensor.
        """
        output = self.output
        if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
            kind = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"The module {self.name!r} gives {kind}; features must be a tensor (B, F), (B, N, F) or a map with "
                "four axes. Name another module, or one inside it."
            )
        if output.ndim == 2:
            return output
        if output.ndim == 3:
            return output[:, self.num_prefix_tokens if output.shape[1] > self.num_prefix_tokens else 0 :].mean(1)
        return output.mean(dim=(2, 3) if self.channel_axis == 1 else (1, 2))

    def find_channels(self) -> None:
        """Tell channels from places by a square image's map: its height and width are equal, its channels differ."""
        if isinstance(self.output, Tensor) and self.output.ndim == 4:
            first, second, third = self.output.shape[1:]
            self.channel_axis = 3 if first == second != third else 1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "output": None, "armed": False}


def measure(network: nn.Module, taps: Mapping[str, Tap], image_size: int) -> dict[str, int]:
    """Return the width of each tap's feature, from a forward pass that leaves the network as it was.

    Raises:
        ModelError: a module does not run in a forward pass, or its output is no feature.
    """
    if not taps:
        return {}
    training = {module: module.training for module in network.modules()}
    parameter = next(network.parameters())
    for tap in taps.values():
        tap.armed = True
    with torch.no_grad():
        network.eval()(torch.zeros(2, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype))
    for module, was in training.items():
        module.training = was
    widths = {}
    for name, tap in taps.items():
        if tap.output is None:
            raise ModelError(f"The module {name!r} does not run in a forward pass. Name another module.")
        tap.find_channels()
        widths[name], tap.output, tap.armed = tap.pooled().shape[1], None, False
    return widths
