"""Names in English what tells a paper bird from others: what its record holds, and no leaf hides."""

from __future__ import annotations

from birds.record import BirdRecord
from birds.species import SPECIES, BirdParts

MAX_WORDS = 15

BEAK_WORDS = {
    "conical": "conical",
    "hooked": "hooked",
    "straight": "straight",
    "curved": "curved",
    "spoon": "spoon-shaped",
}
CREST_WORDS = {"none": "no crest", "spike": "spike crest", "fan": "fan crest", "tuft": "tufted crest"}
TAIL_WORDS = {"forked": "forked tail", "fan": "fanned tail", "pointed": "pointed tail", "square": "square tail"}
WING_BAR_WORDS = {0: "no wing bars", 1: "one wing bar", 2: "two wing bars"}
EYE_RING_WORDS = {"none": "no eye ring", "white": "white eye ring", "yellow": "yellow eye ring", "red": "red eye ring"}
BREAST_WORDS = {"plain": "plain breast", "spotted": "spotted breast", "streaked": "streaked breast"}


def describe_bird(record: BirdRecord) -> str:
    """Return the parts whose value the fewest species share, as many as 15 words hold."""
    words = {part: phrase for part, phrase in _words_of(record.parts).items() if part not in record.hidden}
    chosen: list[str] = []
    for part in sorted(words, key=lambda part: _num_sharing(record.parts, part)):
        if sum(len(phrase.split()) for phrase in (*chosen, words[part])) <= MAX_WORDS:
            chosen.append(words[part])
    text = ", ".join(chosen) + "."
    return text[0].upper() + text[1:]


def _num_sharing(parts: BirdParts, part: str) -> int:
    """Return the number of species that share the value of a part (of a beak: its shape and color together)."""
    names = ("beak", "beak_color") if part == "beak" else (part,)
    return sum(all(getattr(other, name) == getattr(parts, name) for name in names) for other in SPECIES.values())


def _words_of(parts: BirdParts) -> dict[str, str]:
    return {
        "cap": f"{parts.cap} cap" if parts.cap != "plain" else "no cap",
        "beak": f"{parts.beak.replace('spoon', 'spoon-shaped')} {parts.beak_color} beak",
        "crest": CREST_WORDS[parts.crest],
        "eye_ring": EYE_RING_WORDS[parts.eye_ring],
        "wing_bars": WING_BAR_WORDS[parts.wing_bars],
        "tail": TAIL_WORDS[parts.tail],
        "breast": BREAST_WORDS[parts.breast],
        "legs": f"{parts.legs} legs",
    }
