"""Are labels right? What cross-validated classifiers of text say of them."""

from sightwords.labels.folds import folds_of, groups_of
from sightwords.labels.noise import LabelNoise
from sightwords.labels.probe import Probe

__all__ = ["LabelNoise", "Probe", "folds_of", "groups_of"]
