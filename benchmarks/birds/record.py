"""What one image of a paper bird shows: the record that is drawn and described.

A record is a function of (seed, species, split, index) alone. Python's `random.Random` makes it, because its stream is
the same on every platform and version.
"""

from __future__ import annotations

import colorsys
import hashlib
import random
from dataclasses import dataclass

from birds.species import BEAK_COLORS, BODIES, CAPS, EYE_RINGS, LEGS, SPECIES, BirdParts

# background: tone: far, middle and near color
BACKGROUNDS: dict[str, dict[str, tuple[str, str, str]]] = {
    "sky": {
        "blue": ("#a9d3ea", "#f3f8fa", "#d5e9f2"),
        "pink": ("#f0c3bd", "#fbeee6", "#f6d9cf"),
        "gray": ("#b3bcc4", "#e2e6e8", "#c9d0d5"),
    },
    "foliage": {
        "green": ("#5f8a55", "#87ab62", "#3f6a48"),
        "golden": ("#c99a45", "#e0bc62", "#a4702f"),
        "red": ("#a8503c", "#c9714a", "#7d3733"),
    },
    "paper": {
        "cream": ("#efe4cb", "#e2d3b3", "#f7f0de"),
        "teal": ("#6ea6a2", "#5b918e", "#86b8b2"),
        "lilac": ("#bcaed0", "#a899c0", "#cec2de"),
    },
    "branches": {
        "dawn": ("#f3d7b0", "#8a6a52", "#5d4a41"),
        "misty": ("#d3dbd9", "#8f9a97", "#5f6a69"),
        "winter": ("#bcd0dd", "#7d7f86", "#4d4c55"),
    },
    "water": {
        "blue": ("#7db4d6", "#5893bd", "#a5cfe4"),
        "green": ("#8fc0a8", "#629d86", "#b4d8c4"),
        "dark": ("#4b6a86", "#3a566f", "#66859f"),
    },
    "sunset": {
        "orange": ("#f7b267", "#f4845f", "#fbe0a1"),
        "purple": ("#9a7fb0", "#d98c9c", "#f3d3b5"),
        "peach": ("#fbd3b1", "#f2a593", "#fdf0d5"),
    },
    "hills": {
        "green": ("#dcecd4", "#9dc08b", "#6f9f6a"),
        "blue": ("#dfe7f0", "#9db3cc", "#6d88a8"),
        "brown": ("#f1e1c6", "#c9a477", "#9c7650"),
    },
}
PERCHES = ("twig", "stone", "mound")
# a leaf lies over one of these and hides the part; a twig crosses the bird and hides nothing whole
COVERED_PARTS = {"tail": "tail", "legs": "legs", "breast": "breast", "wing": "wing_bars"}


@dataclass(frozen=True)
class Pose:
    """Where and how the bird stands; lengths in sides of the image, angles in degrees (positive raises the head)."""

    facing: str
    body_tilt_deg: float
    head_angle_deg: float
    wing_lift_deg: float
    scale: float
    x: float
    y: float
    plumpness: float
    head_size: float


@dataclass(frozen=True)
class Scene:
    """What is behind, under and in front of the bird; `covers` is a key of COVERED_PARTS, or empty."""

    background: str
    tone: str
    perch: str
    occluder: str
    covers: str


@dataclass(frozen=True)
class Light:
    """Brightness (factor), warmth (-1 cool to 1 warm), shadow (strength 0 to 1, direction) and paper grain (std)."""

    brightness: float
    warmth: float
    slope: float
    shadow: float
    shadow_angle_deg: float
    grain: float


@dataclass(frozen=True)
class BirdRecord:
    """Everything that one image shows.

    Args:
        species: folder name of the species.
        parts: the parts as drawn.
        shades: part to the color it has in this image, `#rrggbb`.
        pose: how the bird stands.
        scene: what surrounds it.
        light: how it is lit.
        seed: what the scene's shapes, the paper's grain and the wording are drawn from.
    """

    species: str
    parts: BirdParts
    shades: dict[str, str]
    pose: Pose
    scene: Scene
    light: Light
    seed: int

    @property
    def hidden(self) -> frozenset[str]:
        """Names of the parts that a leaf hides."""
        return frozenset({COVERED_PARTS[self.scene.covers]} if self.scene.covers else ())


def make_record(seed: int, species: str, split: str, index: int) -> BirdRecord:
    """Return the record of one image of the data set, a function of the four arguments alone."""
    digest = hashlib.sha256(f"paper-birds/{seed}/{species}/{split}/{index}".encode()).digest()
    image_seed = int.from_bytes(digest[:6], "big")
    rng = random.Random(image_seed)
    parts = SPECIES[species]
    shades = shade_parts(parts, image_seed)
    return BirdRecord(species, parts, shades, _pose(rng), _scene(rng), _light(rng), image_seed)


def shade_parts(parts: BirdParts, seed: int) -> dict[str, str]:
    """Return the color of every colored part in one image; each part's jitter has a stream of its own."""
    body = _jitter(BODIES[parts.body], random.Random(f"{seed}/body"), 0.022, 0.16, 0.17)
    named = {
        "cap": CAPS[parts.cap],
        "beak": BEAK_COLORS[parts.beak_color],
        "eye_ring": EYE_RINGS[parts.eye_ring],
        "legs": LEGS[parts.legs],
        "breast": "#ecdcbf",
        "wing_bars": "#f6efdf",
        "marking": "#54402f",
    }
    shades = {"body": body, "wing": _darker(body, 0.74), "tail": _darker(body, 0.62)}
    for part, color in named.items():
        shades[part] = _jitter(color, random.Random(f"{seed}/{part}"), 0.01, 0.08, 0.07) if color else body
    return shades


def _jitter(color: str, rng: random.Random, hue: float, saturation: float, value: float) -> str:
    h, s, v = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb(color)))
    h = (h + rng.uniform(-hue, hue)) % 1.0
    s = min(1.0, s * (1 + rng.uniform(-saturation, saturation)))
    v = min(1.0, v * (1 + rng.uniform(-value, value)))
    return _hexadecimal(colorsys.hsv_to_rgb(h, s, v))


def _darker(color: str, factor: float) -> str:
    red, green, blue = (channel / 255 * factor for channel in rgb(color))
    return _hexadecimal((red, green, blue))


def _hexadecimal(channels: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def rgb(color: str) -> tuple[int, int, int]:
    """Return red, green and blue (0 to 255) of `#rrggbb`."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _pose(rng: random.Random) -> Pose:
    return Pose(
        facing=rng.choice(("left", "right")),
        body_tilt_deg=round(rng.uniform(-16, 22), 2),
        head_angle_deg=round(rng.uniform(-20, 22), 2),
        wing_lift_deg=round(rng.uniform(-4, 8) if rng.random() < 0.7 else rng.uniform(24, 42), 2),
        scale=round(rng.uniform(0.34, 0.46), 4),
        x=round(rng.random(), 4),
        y=round(rng.random(), 4),
        plumpness=round(rng.uniform(0.93, 1.08), 4),
        head_size=round(rng.uniform(0.94, 1.06), 4),
    )


def _scene(rng: random.Random) -> Scene:
    background = rng.choice(tuple(BACKGROUNDS))
    tone = rng.choice(tuple(BACKGROUNDS[background]))
    occluder = rng.choices(("none", "twig", "leaf"), (0.64, 0.18, 0.18))[0]
    covers = rng.choice(tuple(COVERED_PARTS)) if occluder == "leaf" else ""
    return Scene(background, tone, rng.choice(PERCHES), occluder, covers)


def _light(rng: random.Random) -> Light:
    return Light(
        brightness=round(rng.uniform(0.74, 1.04), 4),
        warmth=round(rng.uniform(-1, 1), 4),
        slope=round(rng.uniform(-0.16, 0.16), 4),
        shadow=round(rng.uniform(0.35, 1.0), 4),
        shadow_angle_deg=round(rng.uniform(25, 155), 2),
        grain=round(rng.uniform(1.5, 7.0), 3),
    )
