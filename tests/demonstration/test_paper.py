"""Sheets of paper and the shapes cut from them."""

from __future__ import annotations

import numpy as np

from sightwords.demonstration.paper import Paper, arc, leaf, polygon, smooth, turned

SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def test_smooth_passes_through_its_corners() -> None:
    curve = smooth(SQUARE, 5)
    assert curve.shape == (20, 2)
    np.testing.assert_allclose(curve[::5], polygon(SQUARE), atol=1e-12)
    assert curve.min() < 0, "a round curve through the corners of a square bulges"


def test_turned_is_clockwise_as_seen_and_keeps_the_pivot() -> None:
    np.testing.assert_allclose(turned(polygon([(1.0, 0.0)]), 90), [[0.0, 1.0]], atol=1e-12)
    np.testing.assert_allclose(turned(polygon([(2.0, 3.0)]), 123, (2.0, 3.0)), [[2.0, 3.0]], atol=1e-12)


def test_arc_lies_on_its_circle() -> None:
    points = arc(2.0, 3.0, 0.5, 0, 90, 7)
    np.testing.assert_allclose(np.linalg.norm(points - [2.0, 3.0], axis=1), 0.5)
    np.testing.assert_allclose(points[[0, -1]], [[2.5, 3.0], [2.0, 3.5]], atol=1e-12)


def test_leaf_grows_from_its_root() -> None:
    points = leaf(10.0, 20.0, 8.0, 90)
    np.testing.assert_allclose(points[0], [10.0, 20.0], atol=1e-9)
    np.testing.assert_allclose(points[len(points) // 2], [10.0, 28.0], atol=1e-9)


def test_sheet_is_its_color_inside_and_throws_a_shadow_where_it_falls() -> None:
    paper = Paper(100, "#ffffff", shadow=1.0, shadow_angle_deg=0)
    paper.sheet(polygon(SQUARE) * 40 + 30, "#3366cc", lift=0.05)
    pixels = np.asarray(paper.image).astype(int)
    assert tuple(pixels[50, 50]) == (0x33, 0x66, 0xCC)
    assert pixels[50, 73].max() < 240, "right of the sheet lies its shadow"
    assert pixels[50, 20].min() == 255, "left of it does not"


def test_no_shadow_without_strength() -> None:
    paper = Paper(100, "#ffffff", shadow=0.0, shadow_angle_deg=0)
    paper.sheet(polygon(SQUARE) * 40 + 30, "#3366cc", lift=0.05)
    assert np.asarray(paper.image)[50, 73].min() == 255
