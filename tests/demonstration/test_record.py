"""Records: functions of (seed, species, split, index), with nuisance that does not tell the species."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import product

import pytest

from sightwords.demonstration.record import BACKGROUNDS, COVERED_PARTS, PERCHES, BirdRecord, make_record
from sightwords.demonstration.species import SPECIES

RECORDS = [make_record(0, species, "train", index) for species in SPECIES for index in range(40)]


def test_same_arguments_same_record() -> None:
    assert make_record(3, "kettle_jay", "val", 7) == make_record(3, "kettle_jay", "val", 7)


def test_every_argument_matters() -> None:
    cases = product((0, 1), ("kettle_jay", "cellar_jay"), ("train", "val"), (0, 1))
    records = {make_record(*case).pose for case in cases}
    assert len(records) == 16


def test_records_do_not_drift() -> None:
    # the data set of a seed is the same everywhere; whoever changes it raises dataset.VERSION
    text = "".join(make_record(0, species, "train", 0).to_json() for species in SPECIES)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "8a40b09bfda5eb44"


@pytest.mark.parametrize("record", RECORDS[::37])
def test_record_survives_json(record: BirdRecord) -> None:
    text = record.to_json()
    assert text.isascii()
    assert "\n" not in text
    assert BirdRecord.from_json(text) == record


@pytest.mark.parametrize("key", ["species", "parts", "shades", "pose", "scene", "light", "seed"])
def test_incomplete_json_is_refused(key: str) -> None:
    data = json.loads(RECORDS[0].to_json())
    del data[key]
    with pytest.raises(KeyError):
        BirdRecord.from_json(json.dumps(data))


def test_parts_are_the_species() -> None:
    assert all(record.parts == SPECIES[record.species] for record in RECORDS)


def test_nuisance_takes_every_value_in_fair_shares() -> None:
    shares = (
        (Counter(record.pose.facing for record in RECORDS), 2),
        (Counter(record.scene.background for record in RECORDS), len(BACKGROUNDS)),
        (Counter((record.scene.background, record.scene.tone) for record in RECORDS), 3 * len(BACKGROUNDS)),
        (Counter(record.scene.perch for record in RECORDS), len(PERCHES)),
        (Counter(record.scene.covers for record in RECORDS if record.scene.occluder == "leaf"), len(COVERED_PARTS)),
    )
    for counts, num_values in shares:
        assert len(counts) == num_values
        assert min(counts.values()) > 0.5 * sum(counts.values()) / num_values


def test_occlusion_is_occasional() -> None:
    share = sum(record.scene.occluder != "none" for record in RECORDS) / len(RECORDS)
    assert 0.2 < share < 0.5


def test_hidden_is_what_the_leaf_covers() -> None:
    hides = {"tail": {"tail"}, "legs": {"legs"}, "breast": {"breast"}, "wing": {"wing_bars"}}
    for record in RECORDS:
        assert record.hidden == (hides[record.scene.covers] if record.scene.occluder == "leaf" else set())


def test_shades_vary_within_a_species() -> None:
    shades = [record.shades["body"] for record in RECORDS if record.species == "ledger_crake"]
    assert len(set(shades)) == len(shades)


def test_with_parts_keeps_everything_else() -> None:
    record = RECORDS[0]
    changed = record.with_parts(crest="fan")
    assert changed.parts.differing(record.parts) == ("crest",)
    assert (changed.pose, changed.scene, changed.light, changed.seed) == (
        *(record.pose, record.scene, record.light, record.seed),
    )
    assert changed.shades == record.shades
    recolored = record.with_parts(legs="blue").shades
    assert {part for part in recolored if recolored[part] != record.shades[part]} == {"legs"}
