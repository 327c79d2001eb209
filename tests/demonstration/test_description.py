"""What is written about a bird is what was drawn, in every style."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest

from sightwords.demonstration.description import STYLES, describe_bird
from sightwords.demonstration.record import BirdRecord, make_record
from sightwords.demonstration.species import PART_VALUES, SPECIES, common_name

# what a reader must find (a regular expression) for each value of each part
EXPECTED: dict[str, dict[object, str]] = {
    "body": {"rust": r"\brust", "blue": r"\bblue (\S+ )?(bird|body)", "olive": r"\bolive", "plum": r"\bplum[ -]"},
    "cap": {"plain": r"\bno cap", **{color: rf"\b{color} cap" for color in ("black", "red", "white")}},
    "beak": {
        **{shape: rf"\b{shape} (\w+ )?\w+ beak" for shape in ("conical", "hooked", "straight", "curved")},
        "spoon": r"spoon-shaped \w+ beak",
    },
    "beak_color": {color: rf"\b{color} beak" for color in ("black", "orange", "ivory")},
    "crest": {"none": "no crest", "spike": "spike crest", "fan": r"\bfan crest", "tuft": "tufted crest"},
    "tail": {"forked": "forked tail", "fan": "fanned tail", "pointed": "pointed tail", "square": "square(-cut)? tail"},
    "wing_bars": {0: "no wing bars", 1: r"(one|single) (pale )?wing bar\b", 2: "(two|double) (pale )?wing bars"},
    "eye_ring": {"none": "no eye ring", **{color: f"{color} eye ring" for color in ("white", "yellow", "red")}},
    "breast": {"plain": "plain (pale )?breast", "spotted": "spotted breast", "streaked": "streaked breast"},
    "legs": {color: rf"\b{color} legs" for color in ("black", "orange", "blue")},
}
NOUNS = {"tail": "tail", "legs": "leg", "breast": "breast", "wing_bars": "bar"}


def any_records(num_records: int) -> list[BirdRecord]:
    """Return records with parts of every combination, not only those of the species."""
    rng = random.Random(1)
    records = []
    for index in range(num_records):
        record = make_record(0, rng.choice(list(SPECIES)), rng.choice(("train", "val")), index)
        records.append(record.with_parts(**{part: rng.choice(values) for part, values in PART_VALUES.items()}))
    return records


RECORDS = any_records(400)


def test_the_table_of_this_test_is_complete() -> None:
    assert {part: set(values) for part, values in EXPECTED.items()} == {k: set(v) for k, v in PART_VALUES.items()}


@pytest.mark.parametrize("style", ["plain", "class", "attributes"])
def test_every_visible_part_is_described_as_drawn_and_no_other_way(style: str) -> None:
    for record in RECORDS:
        text = describe_bird(record, style).lower()
        for part, patterns in EXPECTED.items():
            if part not in record.hidden:
                drawn = getattr(record.parts, part)
                found = {value for value, pattern in patterns.items() if re.search(pattern, text)}
                assert found == {drawn}, (part, text)


def test_short_names_only_what_was_drawn() -> None:
    for record in RECORDS:
        for phrase in describe_bird(record, "short").rstrip(".").lower().split(", "):
            parts = [part for part in EXPECTED if re.search(EXPECTED[part][getattr(record.parts, part)], phrase)]
            assert parts, (phrase, record.parts)


def test_short_leads_with_what_few_species_share() -> None:
    # both spoon-beaked species are crakes, and nothing else about them is as rare
    for index in range(5):
        assert describe_bird(make_record(0, "bobbin_crake", "val", index), "short").startswith(
            "Spoon-shaped black beak"
        )


@pytest.mark.parametrize("style", STYLES)
def test_hidden_parts_are_not_described(style: str) -> None:
    hidden = [record for record in RECORDS if record.hidden]
    assert len(hidden) > 40
    for record in hidden:
        (part,) = record.hidden
        assert NOUNS[part] not in describe_bird(record, style).lower()


@pytest.mark.parametrize("style", ["plain", "class"])
def test_pose_and_background_are_described(style: str) -> None:
    backgrounds = {"sky": "clouds", "foliage": "leaves"}
    for record in RECORDS:
        text = describe_bird(record, style).lower()
        assert f"facing {record.pose.facing}" in text
        assert backgrounds.get(record.scene.background, record.scene.background) in text
        if "head raised" in text:
            assert record.pose.head_angle_deg > 10
        if "wing lifted" in text:
            assert record.pose.wing_lift_deg > 20


def test_attributes_list_shape_color_texture_parts_and_setting() -> None:
    for record in RECORDS:
        items = describe_bird(record, "attributes").split(", ")
        assert len(items) == 3 + (8 - len(record.hidden)) + 4
        assert items[1].endswith("body")
        assert items[2] == ("grainy cut paper" if record.light.grain > 4 else "smooth cut paper")
        assert items[-4:-1] == [
            f"on a {record.scene.perch}",
            items[-3],
            f"facing {record.pose.facing}",
        ]
        assert items[-3].startswith(f"{record.scene.tone} background")


@pytest.mark.parametrize(("style", "fewest", "most"), [("plain", 25, 60), ("class", 25, 60), ("short", 6, 15)])
def test_number_of_words(style: str, fewest: int, most: int) -> None:
    lengths = {len(describe_bird(record, style).split()) for record in RECORDS}
    assert fewest <= min(lengths) <= max(lengths) <= most


@pytest.mark.parametrize("style", STYLES)
def test_only_class_names_the_species(style: str) -> None:
    for record in RECORDS:
        text = describe_bird(record, style)
        name = common_name(record.species)
        if style == "class":
            assert f"the {name}," in text or f"The {name}," in text
        else:
            assert not any(word.lower() in text.lower() for word in (*name.split(), record.species))


@pytest.mark.parametrize("style", ["plain", "class"])
def test_whole_sentences(style: str) -> None:
    for record in RECORDS:
        text = describe_bird(record, style)
        assert re.fullmatch(r"([A-Z][^.]+\.)( [A-Z][^.]+\.){2}", text), text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]|  |,,", text), text


def test_wording_varies_with_the_seed_and_with_nothing_else() -> None:
    record = make_record(0, "orchard_jay", "train", 0)
    texts = [describe_bird(replace(record, seed=seed), "plain") for seed in range(30)]
    assert len(set(texts)) >= 25
    assert len({text.split()[0] for text in texts}) >= 3
    assert describe_bird(record, "plain") == describe_bird(BirdRecord.from_json(record.to_json()), "plain")
