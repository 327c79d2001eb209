"""A finished run put together again: network, projector and text encoder. Above the rooms, below the stages."""

from sightwords.trained.network import Seen, TrainedNetwork
from sightwords.trained.projection import Projection, open_projection

__all__ = ["Projection", "Seen", "TrainedNetwork", "open_projection"]
