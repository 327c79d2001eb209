"""The species of the paper birds: invented birds that are told apart by small parts.

Two families share every body color and three species share every family and body color, so neither the body color
nor any other single part names a species: a species differs from its nearest relatives in one to three small parts.
"""

from __future__ import annotations

from dataclasses import dataclass

BODIES = {"rust": "#b4532f", "blue": "#4674a8", "olive": "#808a3c", "plum": "#87557f"}
CAPS = {"plain": "", "black": "#2b282d", "red": "#c92f35", "white": "#f6f1e6"}
BEAK_COLORS = {"black": "#2e2a2e", "orange": "#ee8a22", "ivory": "#efe3c2"}
EYE_RINGS = {"none": "", "white": "#fbf7ee", "yellow": "#f4c92f", "red": "#d8342f"}
LEGS = {"black": "#2f2b30", "orange": "#ea7f24", "blue": "#4f9fd0"}


@dataclass(frozen=True)
class BirdParts:
    """What tells one species from another; every value is a word, or a count."""

    body: str
    cap: str
    beak: str
    beak_color: str
    crest: str
    tail: str
    wing_bars: int
    eye_ring: str
    breast: str
    legs: str


# folder name: body, cap, beak, beak color, crest, tail, wing bars, eye ring, breast, legs
SPECIES: dict[str, BirdParts] = {
    "lantern_finch": BirdParts("rust", "black", "conical", "orange", "none", "forked", 1, "none", "plain", "black"),
    "harbour_finch": BirdParts("rust", "black", "conical", "orange", "none", "forked", 1, "white", "plain", "orange"),
    "thimble_finch": BirdParts("rust", "black", "conical", "orange", "none", "forked", 2, "white", "plain", "black"),
    "parasol_bunting": BirdParts("blue", "black", "conical", "orange", "spike", "forked", 1, "none", "plain", "black"),
    "compass_bunting": BirdParts("blue", "black", "curved", "orange", "spike", "forked", 1, "none", "spotted", "black"),
    "chimney_bunting": BirdParts("blue", "black", "curved", "orange", "spike", "square", 1, "none", "plain", "black"),
    "quarry_shrike": BirdParts("rust", "plain", "hooked", "ivory", "tuft", "fan", 0, "yellow", "spotted", "orange"),
    "saddle_shrike": BirdParts("rust", "plain", "straight", "ivory", "tuft", "fan", 1, "yellow", "spotted", "orange"),
    "tinker_shrike": BirdParts("rust", "plain", "hooked", "ivory", "tuft", "fan", 1, "red", "spotted", "orange"),
    "orchard_jay": BirdParts("olive", "white", "hooked", "ivory", "tuft", "fan", 0, "yellow", "streaked", "orange"),
    "cellar_jay": BirdParts("olive", "white", "hooked", "black", "tuft", "fan", 0, "yellow", "streaked", "black"),
    "kettle_jay": BirdParts("olive", "white", "hooked", "black", "fan", "fan", 0, "yellow", "streaked", "orange"),
    "ribbon_wren": BirdParts("blue", "red", "straight", "black", "fan", "square", 2, "white", "streaked", "blue"),
    "sextant_wren": BirdParts("blue", "white", "straight", "black", "fan", "square", 2, "white", "streaked", "black"),
    "pillow_wren": BirdParts("blue", "white", "straight", "black", "fan", "square", 2, "white", "plain", "blue"),
    "ledger_crake": BirdParts("plum", "red", "straight", "black", "fan", "pointed", 2, "white", "streaked", "blue"),
    "bobbin_crake": BirdParts("plum", "red", "spoon", "black", "fan", "pointed", 2, "none", "streaked", "blue"),
    "bellows_crake": BirdParts("plum", "red", "spoon", "black", "fan", "pointed", 0, "white", "streaked", "blue"),
    "clover_creeper": BirdParts("olive", "white", "curved", "orange", "none", "pointed", 1, "red", "plain", "blue"),
    "candle_creeper": BirdParts("olive", "white", "curved", "orange", "spike", "pointed", 1, "white", "plain", "blue"),
    "anvil_creeper": BirdParts("olive", "white", "curved", "orange", "spike", "fan", 1, "red", "plain", "blue"),
    "almanac_lark": BirdParts("plum", "white", "curved", "ivory", "none", "pointed", 1, "red", "spotted", "blue"),
    "gazette_lark": BirdParts("plum", "red", "curved", "ivory", "none", "pointed", 1, "red", "spotted", "orange"),
    "pocket_lark": BirdParts("plum", "red", "curved", "ivory", "none", "pointed", 2, "red", "spotted", "blue"),
}
