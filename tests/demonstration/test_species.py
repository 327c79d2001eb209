"""The species table: what makes the demo fine-grained."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from sightwords.demonstration.species import PART_VALUES, SPECIES, common_name


def test_there_are_at_least_24_species() -> None:
    assert len(SPECIES) >= 24


def test_species_are_pairwise_distinct_in_parts() -> None:
    for (one, parts), (two, other) in combinations(SPECIES.items(), 2):
        assert parts.differing(other), f"{one} and {two} are the same bird"


@pytest.mark.parametrize("species", SPECIES)
def test_each_species_has_relatives_of_its_color_that_differ_in_one_to_three_small_parts(species: str) -> None:
    parts = SPECIES[species]
    others = [parts.differing(other) for name, other in SPECIES.items() if name != species]
    near = [names for names in others if len(names) <= 3 and "body" not in names]
    assert len(near) >= 2


@pytest.mark.parametrize("part", PART_VALUES)
def test_no_single_part_names_a_species(part: str) -> None:
    counts = Counter(getattr(parts, part) for parts in SPECIES.values())
    assert set(counts) == set(PART_VALUES[part]), "every value is in use, and no other"
    assert min(counts.values()) >= 2


def test_body_color_is_shared_by_at_least_six_species() -> None:
    assert min(Counter(parts.body for parts in SPECIES.values()).values()) >= 6


def test_differing_names_the_parts() -> None:
    assert SPECIES["lantern_finch"].differing(SPECIES["harbour_finch"]) == ("eye_ring", "legs")


def test_common_name() -> None:
    assert common_name("lantern_finch") == "Lantern Finch"
    assert len({common_name(species) for species in SPECIES}) == len(SPECIES)
