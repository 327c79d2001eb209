"""The picture shows what the record says: measured in pixels, at the size that networks see."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightwords.demonstration.drawing import draw_bird
from sightwords.demonstration.record import BACKGROUNDS, PERCHES, BirdRecord, make_record
from sightwords.demonstration.species import PART_VALUES, SPECIES

SIZE = 96


def unobstructed(species: str = "lantern_finch", index: int = 0) -> BirdRecord:
    record = make_record(0, species, "train", index)
    return replace(record, scene=replace(record.scene, occluder="none", covers=""))


def changed(one: BirdRecord, two: BirdRecord, size: int = SIZE) -> NDArray[np.bool_]:
    """Return which pixels (H, W) clearly differ between the pictures of two records."""
    pixels = [
        np.asarray(draw_bird(record, SIZE).resize((size, size), Image.Resampling.LANCZOS)) for record in (one, two)
    ]
    difference: NDArray[np.int64] = np.abs(pixels[0].astype(int) - pixels[1].astype(int)).max(axis=2)
    return difference > 24


def middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean (x, y) of the pixels that are set."""
    return np.argwhere(mask).mean(axis=0)[::-1]


def test_picture_is_a_function_of_the_record() -> None:
    first, second = (draw_bird(make_record(5, "anvil_creeper", "val", 2), SIZE) for _ in range(2))
    assert first.mode == "RGB"
    assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("size", [33, 64, 96, 160])
def test_size(size: int) -> None:
    assert draw_bird(unobstructed(), size).size == (size, size)


def test_images_of_a_species_differ() -> None:
    pictures = {draw_bird(make_record(0, "pocket_lark", "train", index), SIZE).tobytes() for index in range(10)}
    assert len(pictures) == 10


@pytest.mark.parametrize("part", PART_VALUES)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_value_of_every_part_is_seen_at_64_pixels(part: str, index: int) -> None:
    record = unobstructed("bellows_crake", index)
    for one, two in combinations(PART_VALUES[part], 2):
        mask = changed(record.with_parts(**{part: one}), record.with_parts(**{part: two}), 64)
        assert mask.sum() >= 5, (part, one, two)


@pytest.mark.parametrize("index", range(6))
def test_parts_are_drawn_where_they_belong(index: int) -> None:
    record = unobstructed("saddle_shrike", index)
    unit = record.pose.scale * SIZE
    ahead = 1 if record.pose.facing == "right" else -1
    change = {
        part: middle(changed(record, record.with_parts(**{part: value})))
        for part, value in (("crest", "fan"), ("beak", "curved"), ("tail", "forked"), ("legs", "black"))
    }
    eye = middle(changed(record, record.with_parts(eye_ring="none")))
    crest, beak, tail, legs = (change[part] - eye for part in ("crest", "beak", "tail", "legs"))
    assert crest[1] < -0.1 * unit
    assert np.hypot(*crest) < 0.7 * unit
    assert ahead * beak[0] > 0.2 * unit
    assert ahead * tail[0] < -0.7 * unit
    assert legs[1] > 0.6 * unit


def test_a_part_changes_pixels_near_it_only() -> None:
    record = unobstructed("lantern_finch", 1)
    eye = middle(changed(record, record.with_parts(eye_ring="red")))
    pixels = [np.asarray(draw_bird(record.with_parts(crest=crest), SIZE)).astype(int) for crest in ("none", "tuft")]
    touched = np.argwhere((pixels[0] != pixels[1]).any(axis=2))[:, ::-1]
    assert 0 < np.linalg.norm(touched - eye, axis=1).max() < 0.9 * record.pose.scale * SIZE


@pytest.mark.parametrize("species", list(SPECIES)[::4])
def test_the_whole_bird_is_in_the_picture(species: str) -> None:
    for index in range(8):
        record = unobstructed(species, index)
        tails = [record.with_parts(tail=tail, body=body) for tail, body in (("forked", "rust"), ("pointed", "blue"))]
        edge = changed(*tails)
        edge[1:-1, 1:-1] = False
        assert not edge.any(), (species, index)


@pytest.mark.parametrize(
    ("covers", "part", "value"),
    [("legs", "legs", "blue"), ("wing", "wing_bars", 2), ("tail", "tail", "fan"), ("breast", "breast", "streaked")],
)
def test_a_leaf_hides_what_it_covers(covers: str, part: str, value: str | int) -> None:
    shown, hidden = 0, 0
    for index in range(8):
        open_record = replace(unobstructed("lantern_finch", index)).with_parts(wing_bars=0)
        covered = replace(open_record, scene=replace(open_record.scene, occluder="leaf", covers=covers))
        shown += int(changed(open_record, open_record.with_parts(**{part: value})).sum())
        hidden += int(changed(covered, covered.with_parts(**{part: value})).sum())
    assert shown > 100
    assert hidden < 0.25 * shown


def test_every_background_tone_and_perch_is_drawn_and_differs() -> None:
    record = unobstructed()
    scenes = [
        replace(record.scene, background=background, tone=tone, perch=perch)
        for background, tones in BACKGROUNDS.items()
        for tone in tones
        for perch in PERCHES
    ]
    assert len({draw_bird(replace(record, scene=scene), 48).tobytes() for scene in scenes}) == len(scenes)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_backgrounds_have_shapes_of_their_own_in_every_image(background: str) -> None:
    borders = set()
    for index in range(6):
        record = unobstructed("lantern_finch", index)
        scene = replace(record.scene, background=background, tone=next(iter(BACKGROUNDS[background])), perch="stone")
        light = replace(record.light, grain=0.0, slope=0.0, brightness=1.0, warmth=0.0)
        pixels = np.asarray(draw_bird(replace(record, scene=scene, light=light), 48))
        borders.add(np.concatenate([pixels[0], pixels[:32, 0], pixels[:32, -1]]).tobytes())
    assert len(borders) >= 5, "a bare sheet of the first color would have one and the same border"


def test_light_changes_the_picture_as_named() -> None:
    record = unobstructed()
    mean = {}
    for name, values in {"dim": {"brightness": 0.75}, "bright": {"brightness": 1.0}, "warm": {"warmth": 1.0}}.items():
        light = replace(record.light, **{"brightness": 1.0, "warmth": -1.0, **values})
        mean[name] = np.asarray(draw_bird(replace(record, light=light), 48)).mean(axis=(0, 1))
    assert mean["dim"].mean() < 0.85 * mean["bright"].mean()
    assert mean["warm"][0] - mean["warm"][2] > mean["bright"][0] - mean["bright"][2] + 10
