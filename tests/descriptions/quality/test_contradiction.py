"""Descriptions that contradict the label, and those that only sound so."""

# ruff: noqa: RUF001

from __future__ import annotations

import pytest

from sightwords.descriptions.quality.contradiction import contradicts_label

OTHERS = ("blue jay", "house sparrow", "robin, American robin", "Great_Tit", "timber wolf", "crane")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("This is not a cardinal.", "cardinal"),
        ("This is not a northern cardinal, but a finch.", "Northern Cardinal"),
        ("A small gray bird. It is not a cardinal.", "Cardinal"),
        ("The bird in the image isn't a cardinal.", "cardinal"),
        ("The image does not appear to be a cardinal.", "cardinal"),
        ("This does not look like a cardinal. Cardinals are red.", "cardinal"),
        ("The image does not show a cardinal; it shows an empty branch.", "cardinal"),
        ("The image doesn’t contain any cardinals.", "cardinal"),
        ("No cardinal is visible.", "cardinal"),
        ("No cardinals are visible in the image.", "cardinal"),
        ("There is no cardinal in the image.", "cardinal"),
        ("I don't see a cardinal in this image.", "cardinal"),
        ("I see no cardinal here.", "cardinal"),
        ("Rather than a cardinal, this is a blue jay.", "cardinal"),
        ("Instead of a cardinal, the image shows a blue bird.", "cardinal"),
        ("This appears to be a blue jay rather than a cardinal.", "cardinal"),
        ("This is a blue jay, not a cardinal.", "cardinal"),
        ("This image does not show a cardinal. It shows a ball.", "cardinal"),
        ("Without a doubt this is no cardinal.", "cardinal"),
        ("There doesn't seem to be a cardinal in this image.", "cardinal"),
        ("There is no visible cardinal.", "cardinal"),
        ("That's not a cardinal!", "cardinal"),
        ("The bird is actually not a cardinal.", "cardinal"),
        ("It cannot be a cardinal, because it is blue.", "cardinal"),
        ("Although it is called a cardinal, this is not a cardinal.", "cardinal"),
        ("It lacks the features of a cardinal, so this is not a cardinal.", "cardinal"),
        ("The name says that it should be a cardinal. It is not a cardinal.", "cardinal"),
        ("The label cardinal is wrong. A blue bird sits there.", "cardinal"),
        ("A blue bird. The image is mislabeled.", "cardinal"),
        ("This is not a great-tit.", "Great_Tit"),
        ("This is not a tench.", "tench, Tinca tinca"),
        ("This is not an ox.", "ox"),
        ("These leaves are dry. It is not a strawberry.", "strawberries"),
        # another class, and never its own
        ("This is a blue jay.", "cardinal"),
        ("This bird sits still. It appears to be a blue jay.", "cardinal"),
        ("The bird looks like a blue jay, with its crest raised.", "cardinal"),
        ("The image is a Blue Jay perched on a feeder.", "cardinal"),
        ("The bird seems to be an American robin.", "cardinal"),
        ("This is a small great tit on a twig.", "cardinal"),
        ("It looks like a timber wolf.", "Siberian husky"),
    ],
)
def test_contradiction(text, name):
    assert contradicts_label(text, name, OTHERS)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A cardinal with a red crest.", "cardinal"),
        ("Unlike a cardinal, it has no crest, as young cardinals do.", "cardinal"),
        ("This is not only a cardinal but a male one.", "cardinal"),
        ("It is not a sparrow.", "cardinal"),
        ("It is not a blue jay.", "cardinal"),
        ("This is a cardinal, not a blue jay.", "cardinal"),
        ("This is a cardinal rather than a blue jay.", "cardinal"),
        ("This is not a typical cardinal.", "cardinal"),
        ("It is not a cardinal in full plumage, but a young one.", "cardinal"),
        ("A cardinal on the left. The other bird is not a cardinal.", "cardinal"),
        ("A cardinal sits in front. No cardinal is visible in the background.", "cardinal"),
        ("No cardinal is visible in the background.", "cardinal"),
        ("A close-up of a cardinal. A second bird is blurred; it is not a cardinal.", "cardinal"),
        ("A feeder with a cardinal on it. Behind sits a bird; it is not a cardinal.", "cardinal"),
        ("The red bird is identified as a cardinal by its crest. This is not a cardinal, but a twig.", "cardinal"),
        ("A bird that is not a cardinal fancier's delight.", "cardinal"),
        ("This is no cardinal rule.", "cardinal"),
        ("I cannot confirm that this is a cardinal.", "cardinal"),
        ("The red is not a cardinal red.", "cardinal"),
        ("It is not a cardinal feather on the ground.", "cardinal"),
        ("This is not the cardinal's usual pose.", "cardinal"),
        ("It is not a cardinals game.", "cardinal"),
        ("Cardinals are not migratory.", "cardinal"),
        ("The crest is not visible. The cardinal looks left.", "cardinal"),
        ("There is no cardinal flower in the vase.", "cardinal"),
        ("A young cardinal that is easily taken for a robin.", "cardinal"),
        ("This is a cardinal that looks like a blue jay.", "cardinal"),
        ("It looks like a crane, this red bird of the cardinal family.", "cardinal"),
        ("Its tail looks like a crane.", "cardinal"),
        ("A blue jay sits beside a red bird.", "cardinal"),
        ("It is a blue jay feeder with a red bird on it.", "cardinal"),
        ("The bird looks like a ball of red feathers.", "cardinal"),
        ("The sign reads “this is not a cardinal” below a red bird.", "cardinal"),
        ("This is a wolf.", "timber wolf"),
        ("This is a polar bear.", "bear"),
        ("This is not a dog.", "hot dog"),
        ("A red bird on a bare branch.", "cardinal"),
        ("This is a small red bird with a crest.", "cardinal"),
        ("This is not a toy.", "cardinal"),
        ("This is a 7.", "3"),
        ("", "cardinal"),
    ],
)
def test_no_contradiction(text, name):
    assert not contradicts_label(text, name, OTHERS)


def test_without_other_names_only_denials_count():
    assert not contradicts_label("This is a blue jay.", "cardinal")
    assert contradicts_label("This is not a cardinal.", "cardinal")
