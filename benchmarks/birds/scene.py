"""What surrounds a paper bird: backgrounds, perches, and what may lie in front of it."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from birds.paper import Paper, Points, arc, leaf, polygon, smooth, turned
from birds.record import BACKGROUNDS, Scene

PERCH_COLORS = {
    "twig": ("#77543c", "#5c4436", "#9a7552"),
    "stone": ("#8d8a86", "#a79d90", "#6f747c"),
    "mound": ("#86945a", "#a98f5c", "#6b8a6c"),
}
LEAF_COLORS = ("#5d8c4c", "#8aa744", "#b9803a", "#47745c", "#a34f3a")

BOULDER = ((-1.15, 5.0), (-0.98, 0.22), (-0.82, 0.07), (-0.5, 0.0), (0.5, 0.0), (0.86, 0.08), (1.0, 0.25), (1.2, 5.0))


def draw_background(paper: Paper, scene: Scene, rng: random.Random) -> None:
    """Lay the background's sheets; the lowest sheet already has the tone's first color."""
    _, middle, near = BACKGROUNDS[scene.background][scene.tone]
    PAINTERS[scene.background](paper, middle, near, rng)


def draw_perch(paper: Paper, perch: str, x: float, y: float, rng: random.Random) -> None:
    """Lay what the bird stands on, its top at pixel (x, y)."""
    side, color = paper.side, rng.choice(PERCH_COLORS[perch])
    if perch == "twig":
        slant, half = rng.uniform(-0.04, 0.04) * side, rng.uniform(0.3, 0.7) * side
        thick = 0.017 * side
        ends = [(x - half, y - slant), (x + half, y + slant), (x + half, y + slant + thick * 1.2)]
        paper.sheet(polygon([*ends, (x - half, y - slant + 2 * thick)]), color)
        for sign in (-1, 1):
            reach = sign * rng.uniform(0.22, 0.3) * side
            growth = leaf(x + reach, y + slant * sign, 0.13 * side, rng.uniform(200, 340))
            paper.sheet(growth, rng.choice(LEAF_COLORS), 0.008)
    elif perch == "stone":
        wide = rng.uniform(0.2, 0.3) * side
        for shift, drop in ((rng.choice((-1.0, 1.0)) * rng.uniform(0.7, 1.1), 0.12 * side), (0.0, 0.0)):
            paper.sheet(polygon(BOULDER) * wide + (x + shift * wide, y + drop), color)
    else:
        wide = rng.uniform(0.5, 0.9) * side
        top = arc(0, 0, 1.0, 180, 360, 20) * (wide, 0.5 * wide) + (x + rng.uniform(-0.1, 0.1) * side, y + 0.49 * wide)
        paper.sheet(np.concatenate([top, polygon([(top[-1, 0], 3.0 * side), (top[0, 0], 3.0 * side)])]), color)


def draw_leaf(paper: Paper, x: float, y: float, length: float, rng: random.Random) -> None:
    """Lay one large leaf whose middle is at pixel (x, y)."""
    color = rng.choice(LEAF_COLORS)
    placed = turned(leaf(-length / 2, 0.0, length, 0.0, width=0.9), rng.uniform(0, 360)) + polygon([(x, y)])
    paper.sheet(placed, color, 0.02)
    paper.line(placed[[0, len(placed) // 2]], "#ffffff", 0.006 * paper.side, alpha=90)


def draw_twig(paper: Paper, x: float, y: float, rng: random.Random) -> None:
    """Lay a thin twig with small leaves across the picture, through pixel (x, y)."""
    side = paper.side
    stem = polygon([(-1.5, -0.008), (1.5, -0.008), (1.5, 0.008), (-1.5, 0.008)])
    growths = [leaf(rng.uniform(-0.5, 0.5), 0.0, 0.065, rng.choice((-1, 1)) * rng.uniform(30, 70)) for _ in range(5)]
    turn_deg = rng.uniform(0, 180)
    for shape, color in ((stem, "#6b4a37"), *((growth, rng.choice(LEAF_COLORS)) for growth in growths)):
        paper.sheet(turned(shape, turn_deg) * side + polygon([(x, y)]), color, 0.015)


def _cloud(x: float, y: float, size: float) -> Points:
    corners = (
        (-1, 0.3),
        (-0.75, -0.1),
        (-0.35, -0.05),
        (-0.1, -0.5),
        (0.35, -0.4),
        (0.5, -0.05),
        (0.9, -0.05),
        (1, 0.3),
    )
    return smooth(corners) * size + (x, y)


def _sky(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    side = paper.side
    for row, color in enumerate((near, middle, near, middle)):
        y = (0.12 + 0.24 * row + rng.uniform(-0.08, 0.08)) * side
        paper.sheet(_cloud(rng.uniform(0, 1) * side, y, rng.uniform(0.14, 0.28) * side), color)


def _foliage(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    side = paper.side
    for number in range(16):
        x, y = rng.uniform(-0.1, 1.0) * side, rng.uniform(-0.05, 1.05) * side
        growth = leaf(x, y, rng.uniform(0.22, 0.42) * side, rng.uniform(0, 360))
        paper.sheet(growth, (middle, near)[number % 2], 0.008)


def _plain_paper(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    side = paper.side
    for number in range(9):
        x, y = rng.uniform(0, 1) * side, rng.uniform(0, 1) * side
        paper.flat(arc(0, 0, 1.0) * (rng.uniform(0.015, 0.05) * side) + (x, y), (middle, near)[number % 2])
    edge = rng.uniform(0.82, 0.95) * side
    paper.sheet(polygon([(0, edge), (side, edge + rng.uniform(-0.04, 0.04) * side), (side, side), (0, side)]), near)


def _branches(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    side = paper.side
    for number in range(6):
        x, lean, thick = rng.uniform(-0.1, 1.1) * side, rng.uniform(-0.35, 0.35) * side, rng.uniform(0.015, 0.05) * side
        top = [(x + lean, -1.0), (x + lean + 0.5 * thick, -1.0)]
        color = (middle, near)[number % 2]
        paper.sheet(polygon([*top, (x + thick, side), (x - thick, side)]), color, 0.008)
        fork, reach = rng.uniform(0.2, 0.7), rng.choice((-1, 1)) * rng.uniform(0.2, 0.4) * side
        root = (x + lean * (1 - fork), fork * side)
        arm = [root, (root[0] + reach, root[1] - 0.8 * abs(reach)), (root[0], root[1] + 1.6 * thick)]
        paper.sheet(polygon(arm), color, 0.008)


def _bands(paper: Paper, colors: tuple[str, ...], tops: tuple[float, ...], bump: float, rng: random.Random) -> None:
    side = paper.side
    across = np.linspace(0, 1, 25)
    for color, top in zip(colors, tops, strict=True):
        waves, phase = rng.uniform(1.0, 2.6), rng.uniform(0, 6.28)
        y = top + bump * np.sin(2 * np.pi * waves * across + phase) + rng.uniform(-0.05, 0.05)
        ridge = np.stack([across, y], axis=1) * side
        paper.sheet(np.concatenate([ridge, polygon([(side, side), (0, side)])]), color)


def _water(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    _bands(paper, (middle, near) * 3, (0.16, 0.32, 0.48, 0.64, 0.8, 0.94), 0.025, rng)


def _hills(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    _bands(paper, (middle, near), (0.45, 0.68), 0.08, rng)


def _sunset(paper: Paper, middle: str, near: str, rng: random.Random) -> None:
    side = paper.side
    x, y, radius = rng.uniform(0.15, 0.85) * side, rng.uniform(0.15, 0.6) * side, rng.uniform(0.1, 0.2) * side
    paper.sheet(arc(0, 0, 1.0) * radius + (x, y), near)
    _bands(paper, (middle, middle), (0.66, 0.84), 0.03, rng)


PAINTERS: dict[str, Callable[[Paper, str, str, random.Random], None]] = {
    "sky": _sky,
    "foliage": _foliage,
    "paper": _plain_paper,
    "branches": _branches,
    "water": _water,
    "sunset": _sunset,
    "hills": _hills,
}
assert set(PAINTERS) == set(BACKGROUNDS)
