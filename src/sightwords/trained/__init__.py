"""A finished run put together again: network, projector and text encoder. Above the rooms, below the stages."""

from sightwords.trained.guess import Guess, guesses
from sightwords.trained.network import Seen, TrainedNetwork, rebuild
from sightwords.trained.projection import Projection, open_projection

__all__ = ["Guess", "Projection", "Seen", "TrainedNetwork", "guesses", "open_projection", "rebuild"]
