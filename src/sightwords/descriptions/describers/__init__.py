"""The describers, and how one is found by its ID."""

from __future__ import annotations

import importlib
from operator import attrgetter
from typing import TYPE_CHECKING, cast

from sightwords.errors import UnknownNameError

if TYPE_CHECKING:
    from sightwords.descriptions.config import DescribeConfig
    from sightwords.descriptions.describers.base import Describer

KEY_VARIABLES = ("SIGHTWORDS_API_KEY", "OPENAI_API_KEY")  # where a server's API key is looked for, in this order
# How a describer is written -> what makes it (see `Describer.__init__`). Yours is one file and one line here.
DESCRIBERS = {
    "hf:NAME_OR_FOLDER": "sightwords.descriptions.describers.hf:HFDescriber",
    "server:MODEL@URL[,URL...]": "sightwords.descriptions.describers.server:ServerDescriber",
    "class_name": "sightwords.descriptions.describers.class_name:ClassNameDescriber",
}


def make_describer(config: DescribeConfig, sees_images: bool = True) -> Describer:
    """Return the describer that a configuration names; nothing large is loaded yet.

    Args:
        config: which describer.
        sees_images: whether it is shown images; without, a text-only model will do.

    Raises:
        UnknownNameError: the ID is of no known kind.
        ConfigError: the ID lacks a part, or an option does not fit the describer.
        MissingExtraError: the describer's library is not installed.
    """
    if config.engine == "ray":
        from sightwords.descriptions.describers.cluster import RayDescriber

        return RayDescriber(config, sees_images)
    kind, _, rest = config.describer.partition(":")
    for written, function in DESCRIBERS.items():
        if kind == written.partition(":")[0] and bool(rest) == (":" in written):
            module, _, name = function.partition(":")
            make = attrgetter(name)(importlib.import_module(module))
            return cast("Describer", make(rest, config, sees_images))
    shown = config.describer.partition("@")[0]  # what follows may hold a password
    raise UnknownNameError("describer", shown, DESCRIBERS)
