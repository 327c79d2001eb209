"""Draws one paper bird from its record: the picture is a function of the record and the image size alone.

Lengths on the bird are in its own unit (the body is about one unit long), facing right, y down, the body's middle at
the origin; the head's parts are given about the head's middle.
"""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from birds.paper import Paper, Points, arc, polygon, smooth, turned
from birds.record import BACKGROUNDS, BirdRecord, Light
from birds.scene import draw_background, draw_leaf, draw_perch, draw_twig

OVERSAMPLING = 3
HEAD = (0.30, -0.36)
NECK = (0.20, -0.16)
SHOULDER = (0.12, -0.06)
FEET_Y = 0.60
BODY = (
    *((0.40, -0.24), (0.48, 0.02), (0.36, 0.27), (0.06, 0.38)),
    *((-0.28, 0.26), (-0.56, 0.05), (-0.54, -0.10), (-0.22, -0.27), (0.08, -0.40)),
)
BREAST = ((0.40, -0.14), (0.47, 0.04), (0.35, 0.27), (0.06, 0.37), (-0.16, 0.29), (0.04, 0.12), (0.22, -0.08))
WING = ((0.22, -0.15), (0.20, 0.06), (0.02, 0.19), (-0.22, 0.19), (-0.52, 0.12), (-0.34, -0.06), (-0.02, -0.20))
MARKINGS = (
    *((0.37, -0.03), (0.26, 0.03), (0.39, 0.11), (0.28, 0.17)),
    *((0.15, 0.14), (0.17, 0.27), (0.04, 0.25), (-0.06, 0.32)),
)
WING_BARS = ((0.035, -0.175, 0.015, 0.18), (-0.155, -0.14, -0.175, 0.19))
QUILLS = (((-0.24, -0.04), (-0.42, 0.07)), ((-0.24, 0.05), (-0.40, 0.13)), ((-0.22, 0.13), (-0.33, 0.17)))
# the outermost points of any bird: the bird's place must not depend on its parts
REACH = polygon(((-1.02, 0.16), (-1.02, -0.10), (0.96, -0.33), (0.10, -0.86), (0.05, FEET_Y + 0.04)))
TAILS: dict[str, tuple[tuple[float, float], ...]] = {
    "forked": ((0.0, -0.08), (0.50, -0.21), (0.54, -0.14), (0.26, 0.0), (0.54, 0.14), (0.50, 0.21), (0.0, 0.08)),
    "square": ((0.0, -0.08), (0.42, -0.12), (0.42, 0.12), (0.0, 0.08)),
    "pointed": ((0.0, -0.08), (0.22, -0.11), (0.56, 0.0), (0.22, 0.11), (0.0, 0.08)),
}
BEAKS: dict[str, Points] = {
    "conical": polygon(((0.19, -0.13), (0.45, 0.04), (0.19, 0.17))),
    "hooked": smooth(((0.19, -0.12), (0.36, -0.12), (0.48, 0.0), (0.47, 0.20), (0.39, 0.09), (0.19, 0.14))),
    "straight": polygon(((0.19, -0.07), (0.66, 0.035), (0.19, 0.12))),
    "curved": smooth(
        ((0.19, -0.09), (0.40, -0.06), (0.56, 0.08), (0.62, 0.30), (0.48, 0.14), (0.36, 0.07), (0.19, 0.11))
    ),
    "spoon": smooth(
        ((0.19, -0.07), (0.43, -0.01), (0.54, -0.09), (0.66, 0.03), (0.54, 0.15), (0.43, 0.07), (0.19, 0.11))
    ),
}
CRESTS: dict[str, tuple[Points, ...]] = {
    "none": (),
    "spike": (polygon(((0.10, -0.24), (-0.48, -0.44), (-0.22, -0.12))),),
    "fan": (np.concatenate([arc(-0.02, -0.18, 0.34, 185, 320, 14), polygon(((-0.02, -0.14),))]),),
    "tuft": tuple(
        polygon(((a - 0.05, -0.2), (b, c), (a + 0.05, -0.2)))
        for a, b, c in ((-0.14, -0.3, -0.42), (-0.03, -0.1, -0.52), (0.08, 0.1, -0.46))
    ),
}


def draw_bird(record: BirdRecord, image_size: int) -> Image.Image:
    """Return the picture of a record, RGB, `image_size` pixels square."""
    scene, light = record.scene, record.light
    rng = random.Random(f"{record.seed}/scene")
    side = OVERSAMPLING * image_size
    paper = Paper(side, BACKGROUNDS[scene.background][scene.tone][0], light.shadow, light.shadow_angle_deg)
    draw_background(paper, scene, rng)
    bird = _Bird(paper, record)
    feet_x, feet_y = bird.feet()
    draw_perch(paper, scene.perch, feet_x, feet_y, rng)
    bird.draw()
    if scene.occluder == "leaf":
        x, y = bird.middle_of(scene.covers)
        draw_leaf(paper, x, y, (0.78 if scene.covers == "tail" else 0.62) * bird.unit, rng)
    elif scene.occluder == "twig":
        x, y = bird.body(polygon(((rng.uniform(-0.5, 0.3), rng.uniform(-0.1, 0.4)),)))[0]
        draw_twig(paper, x, y, rng)
    small = paper.image.resize((image_size, image_size), Image.Resampling.LANCZOS)
    return Image.fromarray(_lit(np.asarray(small), light, record.seed))


def _lit(pixels: NDArray[np.uint8], light: Light, seed: int) -> NDArray[np.uint8]:
    """Apply brightness, tint, a slope of light and the paper's grain to pixels (H, W, 3)."""
    side = pixels.shape[0]
    tint = np.array([1 + 0.10 * light.warmth, 1.0, 1 - 0.12 * light.warmth], dtype=np.float32) * light.brightness
    slope = 1 + light.slope * np.linspace(-1, 1, side, dtype=np.float32)
    rng = np.random.default_rng(seed)
    fine = rng.standard_normal((side, side), dtype=np.float32)
    coarse = Image.fromarray(rng.standard_normal((-(-side // 4), -(-side // 4)), dtype=np.float32))
    grain = fine + np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    lit = pixels * tint * slope[None, :, None] + (0.7 * light.grain * grain)[:, :, None]
    result: NDArray[np.uint8] = np.clip(np.rint(lit), 0, 255).astype(np.uint8)
    return result


class _Bird:
    """One bird on one sheet of paper: places the shapes of the module's tables in pixels and draws them."""

    def __init__(self, paper: Paper, record: BirdRecord) -> None:
        self.paper, self.record = paper, record
        self.unit = record.pose.scale * paper.side
        self._flip = np.array([1.0 if record.pose.facing == "right" else -1.0, 1.0])
        self._origin = np.zeros(2)
        reach = self.body(REACH)
        low, high = reach.min(axis=0), reach.max(axis=0)
        margin = 0.02 * paper.side
        room = paper.side - 2 * margin - (high - low)
        self._origin = margin + np.array([record.pose.x, record.pose.y]) * room - low

    def upright(self, points: Points) -> Points:
        """Return points of the bird's frame, not tilted, in pixels."""
        placed: Points = points * self._flip * self.unit + self._origin
        return placed

    def body(self, points: Points) -> Points:
        """Return points of the tilted body in pixels."""
        return self.upright(turned(points * (1.0, self.record.pose.plumpness), -self.record.pose.body_tilt_deg))

    def head(self, points: Points) -> Points:
        """Return points given about the head's middle in pixels."""
        pose = self.record.pose
        return self.body(turned(points * pose.head_size + HEAD, -pose.head_angle_deg, NECK))

    def wing(self, points: Points) -> Points:
        """Return points of the wing, given as folded, in pixels."""
        return self.body(turned(points, self.record.pose.wing_lift_deg, SHOULDER))

    def feet(self) -> tuple[float, float]:
        """Return the pixel between the feet, on the perch."""
        x, y = self.upright(polygon(((0.07, FEET_Y),)))[0]
        return float(x), float(y)

    def middle_of(self, covers: str) -> tuple[float, float]:
        """Return the pixel in the middle of what a leaf covers."""
        if covers == "wing":
            x, y = self.wing(polygon(((-0.08, 0.02),)))[0]
        elif covers == "legs":
            x, y = self.upright(polygon(((0.07, 0.5),)))[0]
        else:
            x, y = self.body(polygon(((-0.8, 0.04) if covers == "tail" else (0.26, 0.17),)))[0]
        return float(x), float(y)

    def draw(self) -> None:
        """Lay all sheets of the bird, the lowest first."""
        self._legs()
        self._tail()
        shades = self.record.shades
        self.paper.sheet(self.body(smooth(BODY)), shades["body"], 0.02)
        self.paper.flat(self.body(smooth(BREAST)), shades["breast"])
        self._markings()
        self._head()
        self._wing()

    def _legs(self) -> None:
        color = self.record.shades["legs"]
        hips = self.body(polygon(((-0.02, 0.30), (0.13, 0.29))))
        feet = self.upright(polygon(((0.0, FEET_Y), (0.15, FEET_Y))))
        toe = self._flip * (0.10 * self.unit, 0.0)
        width = np.array([0.028 * self.unit, 0.0])
        for hip, foot in zip(hips, feet, strict=True):
            self.paper.sheet(np.stack([hip - width, hip + width, foot + width, foot - width]), color, 0.006)
            sole = np.array([0.0, 0.05 * self.unit])
            self.paper.sheet(
                np.stack([foot - 0.5 * toe, foot + toe, foot + toe + sole, foot - 0.5 * toe + sole]), color, 0.006
            )

    def _tail(self) -> None:
        kind, shades = self.record.parts.tail, self.record.shades
        if kind == "fan":
            shape = np.concatenate([polygon(((0.0, 0.07), (0.0, -0.07))), arc(0.0, 0.0, 0.48, -34, 34, 12)])
        else:
            shape = polygon(TAILS[kind])
        placed = turned(shape * (-1.0, 1.0), -8) + polygon([(-0.46, -0.02)])
        self.paper.sheet(self.body(placed), shades["tail"])
        for spread in (-0.05, 0.05):
            quill = turned(polygon(((-0.04, 0.4 * spread), (-0.3, spread))), -8) + polygon([(-0.46, -0.02)])
            self._quill(self.body(quill))

    def _markings(self) -> None:
        kind, color = self.record.parts.breast, self.record.shades["marking"]
        if kind == "plain":
            return
        size = (0.036, 0.036) if kind == "spotted" else (0.018, 0.072)
        for x, y in MARKINGS:
            self.paper.flat(self.body(arc(0, 0, 1.0, num_points=10) * size + (x, y)), color)

    def _head(self) -> None:
        parts, shades, paper = self.record.parts, self.record.shades, self.paper
        crest_color = shades["wing" if parts.cap == "plain" else "cap"]
        for shape in CRESTS[parts.crest]:
            paper.sheet(self.head(shape), crest_color, 0.008)
        paper.sheet(self.head(BEAKS[parts.beak]), shades["beak"], 0.008)
        paper.sheet(self.head(arc(0, 0, 0.27)), shades["body"], 0.012)
        if parts.cap != "plain":
            paper.flat(self.head(arc(0, 0, 0.275, 196, 332, 14)), shades["cap"])
        if parts.eye_ring != "none":
            paper.flat(self.head(arc(0.09, 0.0, 0.125)), shades["eye_ring"])
        paper.flat(self.head(arc(0.09, 0.0, 0.07)), "#1d1a20")
        paper.flat(self.head(arc(0.112, -0.026, 0.022, num_points=8)), "#ffffff")

    def _wing(self) -> None:
        parts, shades = self.record.parts, self.record.shades
        self.paper.sheet(self.wing(smooth(WING)), shades["wing"])
        for start, end in QUILLS:
            self._quill(self.wing(polygon((start, end))))
        for top_x, top_y, low_x, low_y in WING_BARS[: parts.wing_bars]:
            bar = polygon(
                ((top_x - 0.035, top_y), (top_x + 0.035, top_y), (low_x + 0.035, low_y), (low_x - 0.035, low_y))
            )
            self.paper.flat(self.wing(bar), shades["wing_bars"])

    def _quill(self, points: Points) -> None:
        self.paper.line(points, "#1c1420", 0.014 * self.unit, alpha=90)
