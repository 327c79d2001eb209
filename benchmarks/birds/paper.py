"""Cut paper: sheets laid on one another, each with a light edge and a soft shadow on what is below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from birds.record import rgb

Points = NDArray[np.float64]


class Paper:
    """A square picture that sheets of paper are laid on; coordinates in pixels, y down.

    Args:
        side: side of the picture in pixels.
        color: the lowest sheet's color, `#rrggbb`.
        shadow: strength of the shadows, 0 to 1.
        shadow_angle_deg: where shadows fall; 0 is right, 90 is down.
    """

    def __init__(self, side: int, color: str, shadow: float, shadow_angle_deg: float) -> None:
        self.side, self.shadow = side, shadow
        self.image = Image.new("RGB", (side, side), color)
        self._draw = ImageDraw.Draw(self.image, "RGBA")
        angle = math.radians(shadow_angle_deg)
        self._fall = np.array([math.cos(angle), math.sin(angle)]) * side

    def sheet(self, points: Points, color: str, lift: float = 0.012) -> None:
        """Lay a polygon (N, 2); `lift` is its height over what is below, in sides of the picture."""
        for share, alpha in ((1.5, 26), (1.0, 34), (0.5, 46)):
            self._polygon(points + self._fall * (lift * share), (24, 16, 34, round(alpha * self.shadow)))
        self._polygon(points - self._fall * 0.0035, (255, 252, 240, 150))
        self._polygon(points, rgb(color))

    def flat(self, points: Points, color: str) -> None:
        """Print a polygon (N, 2) on the sheet below, without edge or shadow."""
        self._polygon(points, rgb(color))

    def line(self, points: Points, color: str, width: float, alpha: int = 255) -> None:
        """Print a line through points (N, 2); width in pixels."""
        flat = points.ravel().tolist()
        self._draw.line(flat, fill=(*rgb(color), alpha), width=max(1, round(width)), joint="curve")

    def _polygon(self, points: Points, color: tuple[int, ...]) -> None:
        self._draw.polygon(points.ravel().tolist(), fill=color)


@cache
def smooth(corners: tuple[tuple[float, float], ...], steps: int = 5) -> Points:
    """Return the closed Catmull-Rom curve through the corners as a polygon (len(corners) * steps, 2)."""
    p1 = np.array(corners)[:, None]
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    points: Points = (curve / 2).reshape(-1, 2)
    return points


@cache
def arc(x: float, y: float, radius: float, first_deg: float = 0, last_deg: float = 345, num_points: int = 24) -> Points:
    """Return points (num_points, 2) on a circle; 0 degrees is right, 90 is down."""
    angles = np.radians(np.linspace(first_deg, last_deg, num_points))
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def polygon(corners: Sequence[tuple[float, float]]) -> Points:
    """Return corners as an array (N, 2)."""
    return np.array(corners, dtype=np.float64)


def turned(points: Points, angle_deg: float, pivot: tuple[float, float] = (0.0, 0.0)) -> Points:
    """Return points (N, 2) turned about a pivot, clockwise as seen (y down)."""
    angle = math.radians(angle_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    result: Points = (points - pivot) @ np.array([[cos, sin], [-sin, cos]]) + pivot
    return result


def leaf(x: float, y: float, length: float, angle_deg: float, width: float = 0.42) -> Points:
    """Return a leaf (N, 2) that grows from (x, y); `width` is a share of its length."""
    shape = smooth(((0.0, 0.0), (0.3, -0.5), (0.66, -0.4), (1.0, 0.0), (0.66, 0.4), (0.3, 0.5)), 4)
    return turned(shape * (length, width * length), angle_deg) + polygon([(x, y)])
