"""Says in English what a paper bird's record holds: the demo's describer is the drawing's own record.

The wording varies from image to image, drawn from the record's own seed. Parts that a leaf hides are not described.
"""

from __future__ import annotations

import random
from typing import TypeVar

from birds.record import BirdRecord
from birds.species import SPECIES, BirdParts, common_name

T = TypeVar("T")

STYLES = ("plain", "short", "attributes", "class")
MAX_SHORT_WORDS = 15

# the first wording of each is the briefest: `short` and `attributes` use it
BODY_WORDS = {
    "rust": ("rust-brown", "rusty brown", "rust-colored"),
    "blue": ("blue", "slate-blue", "deep blue"),
    "olive": ("olive-green", "olive", "mossy olive"),
    "plum": ("plum-purple", "plum-colored", "dusky plum"),
}
BEAK_WORDS = {
    "conical": ("conical", "short conical", "stubby conical"),
    "hooked": ("hooked", "strong hooked", "heavy hooked"),
    "straight": ("straight", "long straight", "straight pointed"),
    "curved": ("curved", "long curved", "curved drooping"),
    "spoon": ("spoon-shaped", "broad spoon-shaped", "long spoon-shaped"),
}
CREST_WORDS = {
    "none": ("no crest",),
    "spike": ("spike crest", "swept-back spike crest", "single spike crest"),
    "fan": ("fan crest", "rounded fan crest", "raised fan crest"),
    "tuft": ("tufted crest", "spiky tufted crest", "ragged tufted crest"),
}
TAIL_WORDS = {
    "forked": ("forked tail", "deeply forked tail"),
    "fan": ("fanned tail", "rounded fanned tail"),
    "pointed": ("pointed tail", "long pointed tail"),
    "square": ("square tail", "square-cut tail"),
}
WING_BAR_WORDS = {
    0: ("no wing bars",),
    1: ("one wing bar", "one pale wing bar", "single wing bar"),
    2: ("two wing bars", "two pale wing bars", "double wing bars"),
}
EYE_RING_WORDS = {
    "none": ("no eye ring",),
    "white": ("white eye ring",),
    "yellow": ("yellow eye ring",),
    "red": ("red eye ring",),
}
BREAST_WORDS = {
    "plain": ("plain breast", "plain pale breast"),
    "spotted": ("spotted breast", "brown-spotted breast"),
    "streaked": ("streaked breast", "brown-streaked breast"),
}
# one word each: every noun takes its share of a text's vector, and the setting says nothing about the species
BACKGROUND_WORDS = {
    "sky": "clouds",
    "foliage": "leaves",
    "paper": "paper",
    "branches": "branches",
    "water": "water",
    "sunset": "sunset",
    "hills": "hills",
}
NO_ARTICLE = ("no ", "one ", "two ", "double ")


def describe_bird(record: BirdRecord, style: str) -> str:
    """Return what the picture of a record shows, in the style of one of the prompts.

    Args:
        record: what was drawn.
        style: `plain` (25 to 60 words in whole sentences), `short` (at most 15 words, the parts that distinguish most),
            `attributes` (a comma-separated list) or `class` (like `plain`, and names the species).
    """
    assert style in STYLES, style
    rng = random.Random(f"{record.seed}/{style}")
    if style == "short":
        return _short(record)
    if style == "attributes":
        return _attributes(record, rng)
    return _sentences(record, common_name(record.species) if style == "class" else "", rng)


def _sentences(record: BirdRecord, name: str, rng: random.Random) -> str:
    phrases = {part: _with_article(rng.choice(words)) for part, words in _part_words(record).items()}
    opening = _opening(record, phrases.pop("cap"), name, rng)
    head = _shuffled([phrases.pop(part) for part in ("beak", "crest", "eye_ring")], rng)
    trunk = _shuffled(list(phrases.values()), rng)
    verbs = rng.choice((("has", "also has"), ("shows", "has"), ("has", "also shows")))
    middle = [f"it {verb} {_listed(part)}." for verb, part in zip(verbs, _shuffled([head, trunk], rng), strict=True)]
    return " ".join(map(_capitalized, (opening, *middle)))


def _opening(record: BirdRecord, cap: str, name: str, rng: random.Random) -> str:
    kind = rng.choice(("paper bird", "cut-paper bird", "bird"))
    bird = f"{_with_article(f'{rng.choice(BODY_WORDS[record.parts.body])} {kind}')} with {cap}"
    subject = f"the {name}, {bird}," if name else bird
    verb, facing = rng.choice(("stands", "perches")), f"facing {record.pose.facing}{_bearing(record)}"
    where = f"{rng.choice(('before', 'against'))} {BACKGROUND_WORDS[record.scene.background]}"
    orders = (f"{subject} {verb} {where}, {facing}.", f"{facing}, {subject} {verb} {where}.")
    return rng.choice((*orders, f"{subject} {verb} {facing}, {where}."))


def _short(record: BirdRecord) -> str:
    """Name the parts whose value the fewest species share, as many as the limit of words lets in."""
    words = {part: choices[0] for part, choices in _part_words(record).items()}
    chosen: list[str] = []
    for part in sorted(words, key=lambda part: _commonness(record.parts, part)):
        if sum(len(phrase.split()) for phrase in (*chosen, words[part])) <= MAX_SHORT_WORDS:
            chosen.append(words[part])
    return _capitalized(", ".join(chosen)) + "."


def _commonness(parts: BirdParts, part: str) -> int:
    """Return the number of species that share the value of a part (of a beak: its shape and color together)."""
    names = ("beak", "beak_color") if part == "beak" else (part,)
    return sum(all(getattr(other, name) == getattr(parts, name) for name in names) for other in SPECIES.values())


def _attributes(record: BirdRecord, rng: random.Random) -> str:
    """List shape, color, texture, parts and setting."""
    shape = rng.choice(("small round bird", "plump songbird", "round-bodied bird"))
    color = f"{rng.choice(BODY_WORDS[record.parts.body])} body"
    texture = "grainy cut paper" if record.light.grain > 4 else "smooth cut paper"
    parts = _shuffled([choices[0] for choices in _part_words(record).values()], rng)
    scene = record.scene
    backdrop = f"{scene.tone} background of {BACKGROUND_WORDS[scene.background]}"
    setting = (f"on a {scene.perch}", backdrop, f"facing {record.pose.facing}", f"{_light(record)} light")
    return ", ".join((shape, color, texture, *parts, *setting))


def _part_words(record: BirdRecord) -> dict[str, tuple[str, ...]]:
    """Return part to the wordings that fit it, the briefest first, for all parts that no leaf hides."""
    parts = record.parts
    words = {
        "cap": (f"{parts.cap} cap",) if parts.cap != "plain" else ("no cap",),
        "beak": tuple(f"{shape} {parts.beak_color} beak" for shape in BEAK_WORDS[parts.beak]),
        "crest": CREST_WORDS[parts.crest],
        "eye_ring": EYE_RING_WORDS[parts.eye_ring],
        "wing_bars": WING_BAR_WORDS[parts.wing_bars],
        "tail": TAIL_WORDS[parts.tail],
        "breast": BREAST_WORDS[parts.breast],
        "legs": (f"{parts.legs} legs",),
    }
    return {part: choices for part, choices in words.items() if part not in record.hidden}


def _bearing(record: BirdRecord) -> str:
    """Return the most marked thing about the pose, or nothing."""
    pose = record.pose
    marks = (
        (pose.wing_lift_deg / 20, ", wing lifted"),
        (abs(pose.head_angle_deg) / 10, ", head raised" if pose.head_angle_deg > 0 else ", head lowered"),
        (abs(pose.body_tilt_deg) / 10, " and upright" if pose.body_tilt_deg > 0 else ", leaning forward"),
    )
    strength, words = max(marks)
    return words if strength > 1 else ""


def _light(record: BirdRecord) -> str:
    brightness, warmth = record.light.brightness, record.light.warmth
    strength = "dim" if brightness < 0.83 else "bright" if brightness > 0.95 else "soft"
    return strength if abs(warmth) < 0.35 else f"{strength} {'warm' if warmth > 0 else 'cool'}"


def _shuffled(items: list[T], rng: random.Random) -> list[T]:
    return rng.sample(items, len(items))


def _listed(phrases: list[str]) -> str:
    """Join phrases as people do, what the bird lacks last."""
    ordered = sorted(phrases, key=lambda phrase: phrase.startswith("no "))
    return ordered[0] if len(ordered) == 1 else f"{', '.join(ordered[:-1])} and {ordered[-1]}"


def _with_article(phrase: str) -> str:
    if phrase.startswith(NO_ARTICLE) or phrase.endswith("legs"):
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]
