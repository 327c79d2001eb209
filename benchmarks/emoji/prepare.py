"""Make a real image set with descriptions that people wrote, from three Debian packages and without the network.

Images: every emoji of the Noto Color Emoji font. Label: its subgroup in Unicode's emoji-test.txt. Description: its
English short name and keywords in CLDR. One emoji is one image, so an emoji of the validation split is never seen in
training. Nothing of the packages lies in this repository.

    apt-get install fonts-noto-color-emoji unicode-cldr-core unicode-data
    python benchmarks/emoji/prepare.py --out emoji
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, features

from sightwords.errors import ConfigError, DataError, SightwordsError
from sightwords.files import atomic_path
from sightwords.progress import Progress

PACKAGES = ("fonts-noto-color-emoji", "unicode-cldr-core", "unicode-data")
LICENSES = {
    "fonts-noto-color-emoji": "SIL Open Font License 1.1",
    "unicode-cldr-core": "Unicode-DFS-2016",
    "unicode-data": "Unicode License Agreement, Data Files and Software",
}
STRIKE_PX = 109  # the only size of the bitmaps in the font; FreeType refuses every other
MIN_CLASS_EMOJI = 8
EXCLUDED_GROUPS = {"Flags": "flag", "Component": "component"}
SKIN_TONES = frozenset(range(0x1F3FB, 0x1F3FF + 1))
EMOJI_STYLE = "\ufe0f"  # asks for the colored form; CLDR leaves it out of its keys
MADE_BY = "benchmarks/emoji/prepare.py"
EMOJI_LINE = re.compile(r"([0-9A-F]+(?: [0-9A-F]+)*)\s*;\s*([a-z-]+)\s*#\s*\S+\s+E\d+\.\d+\s+(.+)")


@dataclass(frozen=True)
class Sources:
    """The files that are read, where Debian's packages put them."""

    font: Path = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
    emoji_test: Path = Path("/usr/share/unicode/emoji/emoji-test.txt")
    annotations: Path = Path("/usr/share/unicode/cldr/common/annotations/en.xml")
    derived_annotations: Path = Path("/usr/share/unicode/cldr/common/annotationsDerived/en.xml")

    def by_package(self) -> dict[str, tuple[Path, ...]]:
        """Return the files of every package."""
        files = ((self.font,), (self.annotations, self.derived_annotations), (self.emoji_test,))
        return dict(zip(PACKAGES, files, strict=True))

    def check(self) -> None:
        """Raise DataError, naming the files and the way to get them, unless all are there."""
        named = [(file, name) for name, files in self.by_package().items() for file in files]
        if missing := [f"{file} (package {name})" for file, name in named if not file.is_file()]:
            raise DataError(f"Not found: {', '.join(missing)}. Install with: apt-get install {' '.join(PACKAGES)}")


@dataclass(frozen=True)
class Emoji:
    """One emoji as emoji-test.txt lists it: its code points, its name there, and the subgroup that is its label."""

    codepoints: tuple[int, ...]
    name: str
    subgroup: str

    @property
    def text(self) -> str:
        """The emoji as characters."""
        return "".join(map(chr, self.codepoints))

    @property
    def cldr_key(self) -> str:
        """The characters under which CLDR's annotation files list the emoji."""
        return self.text.replace(EMOJI_STYLE, "")

    @property
    def stem(self) -> str:
        """The image's file name without its ending: code points in hex, `1f426-200d-2b1b`."""
        return "-".join(f"{codepoint:x}" for codepoint in self.codepoints)


@dataclass
class Collection:
    """The emoji that can be used, each with its description and its image as PNG, and the names of all others."""

    emoji: list[Emoji] = field(default_factory=list)
    descriptions: dict[Emoji, str] = field(default_factory=dict)
    pngs: dict[Emoji, bytes] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def parse_emoji_test(text: str) -> tuple[list[Emoji], Counter[str]]:
    """Return the emoji of Unicode's emoji-test.txt in its order, and how many were excluded for what reason.

    Only fully-qualified forms count: the others are further spellings of the same emoji.

    Raises:
        DataError: a line does not follow the format, or there is no emoji at all.
    """
    emoji: list[Emoji] = []
    excluded: Counter[str] = Counter()
    heading = {"group": "", "subgroup": ""}
    for number, line in enumerate(text.split("\n"), start=1):
        if title := re.match(r"# (group|subgroup): (.+)", line):
            heading[title[1]] = title[2].strip()
        if not line.strip() or line.startswith("#"):
            continue
        row = EMOJI_LINE.match(line)
        if row is None:
            raise DataError(
                f"Line {number} of emoji-test.txt is not 'CODE POINTS ; STATUS # EMOJI VERSION NAME': {line}"
            )
        codepoints = tuple(int(codepoint, 16) for codepoint in row[1].split())
        if reason := EXCLUDED_GROUPS.get(heading["group"]) or ("skin tone" if SKIN_TONES & {*codepoints} else None):
            excluded[reason] += row[2] in ("fully-qualified", "component")
        elif row[2] == "fully-qualified":
            emoji.append(Emoji(codepoints, row[3].strip(), heading["subgroup"]))
    if not emoji:
        raise DataError("emoji-test.txt lists no fully-qualified emoji. Install the package unicode-data again.")
    return emoji, excluded


def parse_annotations(documents: Iterable[bytes]) -> dict[str, tuple[str, list[str]]]:
    """Return name and keywords by character sequence from CLDR's annotation files; the first document wins.

    Raises:
        DataError: a document is not XML.
    """
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = {}
    for document in documents:
        try:
            root = ET.fromstring(document)
        except ET.ParseError as error:
            raise DataError(f"A CLDR annotation file is damaged ({error}). Install unicode-cldr-core again.") from error
        for annotation in root.iter("annotation"):
            characters, text = annotation.get("cp", ""), (annotation.text or "").strip()
            if annotation.get("type") == "tts":
                names.setdefault(characters, text)
            else:
                keywords.setdefault(characters, [word.strip() for word in text.split("|") if word.strip()])
    return {characters: (name, keywords.get(characters, [])) for characters, name in names.items() if name}


def describe(name: str, keywords: Sequence[str]) -> str:
    """Return name and keywords as one text: `grinning face: face, grin`; the name is not repeated among them.

    A name that holds a colon itself (`man: red hair`) is followed by a semicolon.
    """
    words = [word for word in dict.fromkeys(keywords) if word.casefold() != name.casefold()]
    return f"{name}{'; ' if ':' in name else ': '}{', '.join(words)}" if words else name


class GlyphPainter:
    """Paints emoji as the font draws them, on white.

    Without Pillow's raqm layout a sequence of several emoji cannot be joined to one glyph; `problem` reports it.
    """

    def __init__(self, font: Path, size: int) -> None:
        self.joins = bool(features.check("raqm"))
        engine = ImageFont.Layout.RAQM if self.joins else ImageFont.Layout.BASIC
        self._font = ImageFont.truetype(str(font), STRIKE_PX, layout_engine=engine)
        self._advance_px = self._font.getlength("\U0001f600")
        self._size = size

    def problem(self, text: str) -> str | None:
        """Return why `text` has no picture of its own, or None where it has one."""
        text = self._shaped(text)
        left, top, right, bottom = self._font.getbbox(text)
        if right <= left or bottom <= top:
            return "the font lacks it"
        if abs(self._font.getlength(text) - self._advance_px) > 1:
            return "not one glyph"
        return None

    def png(self, text: str) -> bytes:
        """Return the picture of `text` as a square RGB image, PNG, the glyph's whole cell centered in it."""
        text = self._shaped(text)
        left, top, right, bottom = self._font.getbbox(text)
        cell = Image.new("RGB", (round(right - left), round(bottom - top)), "white")
        ImageDraw.Draw(cell).text((-left, -top), text, font=self._font, embedded_color=True)
        scale = self._size / max(cell.size)
        width, height = (max(1, round(side * scale)) for side in cell.size)
        image = Image.new("RGB", (self._size, self._size), "white")
        resized = cell.resize((width, height), Image.Resampling.LANCZOS)
        image.paste(resized, ((self._size - width) // 2, (self._size - height) // 2))
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        return buffer.getvalue()

    def _shaped(self, text: str) -> str:
        # the basic layout would draw the style selector as a glyph of its own
        return text if self.joins else text.replace(EMOJI_STYLE, "")


def collect(
    candidates: Sequence[Emoji], annotations: Mapping[str, tuple[str, list[str]]], painter: GlyphPainter
) -> Collection:
    """Describe and paint every candidate; name those that cannot be used.

    Two emoji with byte-identical images would be one image to sightwords, perhaps on both sides of the split: the first
    one stays.
    """
    kept = Collection()
    first_with: dict[bytes, Emoji] = {}
    with Progress("Painting", len(candidates), "emoji") as progress:
        for emoji in candidates:
            progress.advance()
            reason = painter.problem(emoji.text) if emoji.cldr_key in annotations else "no CLDR name"
            if reason is not None:
                kept.skipped[reason].append(emoji.name)
                continue
            png = painter.png(emoji.text)
            first = first_with.setdefault(png, emoji)
            if first != emoji:
                kept.skipped["same image as another"].append(f"{emoji.name} (as {first.name})")
                continue
            kept.emoji.append(emoji)
            kept.descriptions[emoji], kept.pngs[emoji] = describe(*annotations[emoji.cldr_key]), png
    return kept


def drop_small_classes(kept: Collection) -> dict[str, int]:
    """Take the classes with fewer than MIN_CLASS_EMOJI emoji out of `kept.emoji`; return their names and sizes."""
    sizes = Counter(emoji.subgroup for emoji in kept.emoji)
    kept.emoji = [emoji for emoji in kept.emoji if sizes[emoji.subgroup] >= MIN_CLASS_EMOJI]
    if not kept.emoji:
        raise DataError(f"No subgroup has {MIN_CLASS_EMOJI} usable emoji. Install again: {' '.join(PACKAGES)}")
    return {name: size for name, size in sizes.items() if size < MIN_CLASS_EMOJI}


def validation_emoji(emoji: Iterable[Emoji], val_fraction: float, seed: int) -> set[Emoji]:
    """Return the emoji of the validation split: the share `val_fraction` of every class, at least one, never all.

    Within a class they stand in the order of a hash of seed and code points, so neither their order nor other classes
    play a part.
    """
    classes: dict[str, list[Emoji]] = defaultdict(list)
    for one in emoji:
        classes[one.subgroup].append(one)
    chosen: set[Emoji] = set()
    for members in classes.values():
        members.sort(key=lambda one: hashlib.sha256(f"{seed}:{one.stem}".encode()).digest())
        chosen.update(members[: min(len(members) - 1, max(1, round(val_fraction * len(members))))])
    return chosen


def package_version(name: str) -> str:
    """Return the version of an installed Debian package, `unknown` where dpkg does not know it."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", name]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def provenance(sources: Sources, joins: bool) -> dict[str, Any]:
    """Return what the set is made from and with: packages, versions, licenses, and the libraries that drew it."""
    packages = [
        {"package": name, "version": package_version(name), "license": LICENSES[name], "files": [str(f) for f in files]}
        for name, files in sources.by_package().items()
    ]
    libraries = {name: features.version(name) for name in ("pil", "freetype2", "raqm", "harfbuzz")}
    return {"made_by": MADE_BY, "sources": packages, "libraries": {**libraries, "sequences_joined": joins}}


def write_set(out: Path, kept: Collection, val: set[Emoji], meta: dict[str, Any]) -> None:
    """Write images, descriptions.csv and meta.json to the folder `out`, which appears in one step."""
    with atomic_path(out) as folder:
        rows: list[tuple[str, str]] = []
        for emoji in kept.emoji:
            image = f"{'val' if emoji in val else 'train'}/{emoji.subgroup}/{emoji.stem}.png"
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            (folder / image).write_bytes(kept.pngs[emoji])
            rows.append((image, kept.descriptions[emoji]))
        with (folder / "descriptions.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("image", "text"), *sorted(rows)])
        text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
        (folder / "meta.json").write_text(text, encoding="utf-8")


def class_sizes(emoji: Iterable[Emoji], val: set[Emoji]) -> dict[str, dict[str, int]]:
    """Return the number of images by class and split, in the order of the class names."""
    sizes: dict[str, dict[str, int]] = defaultdict(lambda: {"train": 0, "val": 0})
    for one in emoji:
        sizes[one.subgroup]["val" if one in val else "train"] += 1
    return dict(sorted(sizes.items()))


def prepare(
    out: Path, size: int = 128, val_fraction: float = 0.25, seed: int = 0, sources: Sources | None = None
) -> str:
    """Make the set and return what it holds, what was left out and why, as lines of text.

    Args:
        out: folder to make.
        size: width and height of the images, in pixels.
        val_fraction: share of every class that goes to validation, between 0 and 1.
        seed: another number gives another split.
        sources: the files of the packages, where they are not where Debian puts them.

    Raises:
        ConfigError: the folder exists.
        DataError: a source is missing or damaged.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already. Choose another --out, or remove it.")
    sources = sources or Sources()
    sources.check()
    candidates, excluded = parse_emoji_test(sources.emoji_test.read_text(encoding="utf-8"))
    annotations = parse_annotations([sources.annotations.read_bytes(), sources.derived_annotations.read_bytes()])
    painter = GlyphPainter(sources.font, size)
    kept = collect(candidates, annotations, painter)
    small_classes = drop_small_classes(kept)
    val = validation_emoji(kept.emoji, val_fraction, seed)
    classes = class_sizes(kept.emoji, val)
    meta = provenance(sources, painter.joins) | {
        "settings": {"size": size, "val_fraction": val_fraction, "seed": seed},
        "num_classes": len(classes),
        "num_train": len(kept.emoji) - len(val),
        "num_val": len(val),
        "classes": classes,
        "excluded_by_rule": dict(sorted(excluded.items())),
        "small_classes": dict(sorted(small_classes.items())),
        "skipped": dict(sorted(kept.skipped.items())),
    }
    write_set(out.resolve(), kept, val, meta)
    lines = [f"{out}: {len(classes)} classes, {meta['num_train']} train and {len(val)} val images"]
    lines += [f"  left out by rule: {count} ({reason})" for reason, count in excluded.items() if count]
    lines += [f"  left out: {len(names)} ({reason})" for reason, names in kept.skipped.items()]
    lines.append(f"  left out: {sum(small_classes.values())} (subgroup with fewer than {MIN_CLASS_EMOJI} emoji)")
    if not painter.joins:
        lines.append("  Pillow found no raqm layout: emoji of several code points are missing. For the whole set: "
                     "apt-get install libfribidi0")  # fmt: skip
    return "\n".join([*lines, f"Names of what was left out, versions and licenses: {out / 'meta.json'}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--size", type=int, default=128, help="width and height in pixels (default: %(default)s)")
    parser.add_argument("--val-fraction", type=float, default=0.25, help="validation share (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another split (default: %(default)s)")
    try:
        print(prepare(**vars(parser.parse_args(arguments))))
    except SightwordsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
