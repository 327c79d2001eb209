"""What is exported: the trained network, and the stock library's own to hold it against."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sightwords.errors import ArtifactError
from sightwords.models.inference import rebuild
from sightwords.models.run_folder import NetworkInfo, RunFolder


@dataclass(frozen=True)
class Subject:
    """A run's network.

    Attributes:
        info: what it is.
        weights: its parameters and buffers by name.
        network: the network as it was trained, in eval mode, on the CPU.
    """

    info: NetworkInfo
    weights: Mapping[str, Tensor]
    network: nn.Module

    @property
    def library(self) -> str:
        """`timm` or `torchvision`."""
        return self.info.model.partition(":")[0]

    @property
    def name(self) -> str:
        """The network's name in its library."""
        return self.info.model.partition(":")[2]

    def stock(self) -> nn.Module:
        """Return the library's own untrained network, made by the library's own factory, in eval mode."""
        return stock_network(self.library, self.name, self.info.factory_kwargs).eval()

    @property
    def factory_call(self) -> str:
        """The same as a line of Python."""
        maker = {"timm": "timm.create_model", "torchvision": "torchvision.models.get_model"}[self.library]
        shown = "".join(f", {key}={value!r}" for key, value in self.info.factory_kwargs.items())
        return f'{maker}("{self.name}"{shown})'


def open_subject(folder: RunFolder) -> Subject:
    """Return a run's network.

    Raises:
        ArtifactError: the run is unfinished or damaged.
    """
    info, weights = folder.network(), folder.load_weights()
    return Subject(info, weights, rebuild(info, weights).network.eval())


def stock_network(library: str, name: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Return the library's own untrained network, made by the library's own factory."""
    if library == "timm":
        import timm

        network: nn.Module = timm.create_model(name, **kwargs)
        return network
    import torchvision

    made: nn.Module = torchvision.models.get_model(name, **kwargs)
    return made


def load_strictly(stock: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights into the stock network with `strict=True`.

    Raises:
        ArtifactError: a name or shape differs, or the network refuses a plain dictionary.
    """
    try:
        stock.load_state_dict(OrderedDict(weights), strict=True)
    except (RuntimeError, ValueError) as error:
        raise ArtifactError(f"{where} does not load into the stock network: {error}") from None
