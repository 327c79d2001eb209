from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import tarfile
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image, features

from sightwords.errors import ConfigError, DataError

FOLDER = Path(__file__).parents[2] / "benchmarks" / "emoji"


def load(name: str) -> ModuleType:
    spec = spec_from_file_location(f"emoji_{name}", FOLDER / f"{name}.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


prepare, drawings = load("prepare"), load("drawings")
SOURCES = prepare.Sources()
MISSING = [str(file) for files in SOURCES.by_package().values() for file in files if not file.is_file()]
needs_packages = pytest.mark.skipif(
    bool(MISSING) or not features.check("raqm"),
    reason=f"apt-get install libfribidi0 {' '.join(prepare.PACKAGES)}; missing: {', '.join(MISSING)}",
)
EMOJI_TEST = """\
# group: Smileys & Emotion
# subgroup: face-test
1F600                  ; fully-qualified     # \U0001f600 E1.0 grinning face
263A FE0F              ; fully-qualified     # \u263a\ufe0f E0.6 smiling face
263A                   ; unqualified         # \u263a E0.6 smiling face

# group: People & Body
# subgroup: hand-test
1F44B 1F3FB            ; fully-qualified     # \U0001f44b\U0001f3fb E1.0 waving hand: light skin tone
0023 FE0F 20E3         ; fully-qualified     # #\ufe0f\u20e3 E0.6 keycap: #

# group: Component
# subgroup: hair-style
1F9B0                  ; component           # \U0001f9b0 E11.0 red hair

# group: Flags
# subgroup: country-flag
1F1E6 1F1E8            ; fully-qualified     # \U0001f1e6\U0001f1e8 E2.0 flag: Ascension Island
"""
ANNOTATIONS = """<ldml><annotations>
  <annotation cp="\U0001f600">face | grin | grinning face</annotation>
  <annotation cp="\U0001f600" type="tts">grinning face</annotation>
  <annotation cp="\u263a" type="tts">smiling face</annotation>
  <annotation cp="\u2639">face | sad</annotation>
</annotations></ldml>
""".encode()


def test_labels_are_subgroups_without_flags_skin_tones_and_components():
    emoji, excluded = prepare.parse_emoji_test(EMOJI_TEST)
    assert [(one.stem, one.name, one.subgroup) for one in emoji] == [
        ("1f600", "grinning face", "face-test"),
        ("263a-fe0f", "smiling face", "face-test"),
        ("23-fe0f-20e3", "keycap: #", "hand-test"),
    ]
    assert excluded == {"skin tone": 1, "component": 1, "flag": 1}
    with pytest.raises(DataError, match="Line 2"):
        prepare.parse_emoji_test("# group: Objects\nnot an emoji\n")


def test_a_description_is_the_name_with_the_keywords_of_the_first_file_that_has_them():
    later = ANNOTATIONS.replace(b"face | grin", b"later").replace("\u2639".encode(), "\u263a".encode())
    found = prepare.parse_annotations([ANNOTATIONS, later])
    assert {key: prepare.describe(*one) for key, one in found.items()} == {
        "\U0001f600": "grinning face: face, grin", "\u263a": "smiling face: face, sad",
    }  # fmt: skip
    assert prepare.describe("man: red hair", ["adult"]) == "man: red hair; adult"
    with pytest.raises(DataError, match="damaged"):
        prepare.parse_annotations([ANNOTATIONS[:-20]])


def test_the_split_is_a_function_of_seed_and_emoji():
    emoji = [prepare.Emoji((0x1F000 + 256 * label + i,), "", f"class-{label}") for label in (0, 1) for i in range(40)]
    val = prepare.validation_emoji(emoji, 0.25, seed=0)
    assert Counter(one.subgroup for one in val) == {"class-0": 10, "class-1": 10}
    assert prepare.validation_emoji(emoji[:39:-1], 0.25, seed=0) == {one for one in val if one.subgroup == "class-1"}
    assert prepare.validation_emoji(emoji, 0.25, seed=1) != val
    by_hash = sorted(emoji[:40], key=lambda one: hashlib.sha256(f"0:{one.codepoints[0]:x}".encode()).hexdigest())
    assert {one for one in val if one.subgroup == "class-0"} == set(by_hash[:10])


def test_what_is_missing_or_in_the_way_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*apt-get install fonts-noto-color-emoji"):
        prepare.prepare(tmp_path / "emoji", sources=prepare.Sources(font=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="exists already"):
        prepare.prepare(tmp_path)


@needs_packages
def test_a_set_of_four_subgroups(tmp_path):
    wanted, lines, kept = ("face-smiling", "animal-bird", "geometric", "keycap"), [], True
    for line in SOURCES.emoji_test.read_text(encoding="utf-8").split("\n"):
        if line.startswith("# subgroup: "):
            kept = line.removeprefix("# subgroup: ").strip() in wanted
        if kept or line.startswith("#"):
            lines.append(line)
    (tmp_path / "emoji-test.txt").write_text("\n".join(lines), encoding="utf-8")
    out = tmp_path / "emoji"
    said = prepare.prepare(out, size=64, sources=prepare.Sources(emoji_test=tmp_path / "emoji-test.txt"))
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    assert f"4 classes, {meta['num_train']} train and {meta['num_val']} val images" in said
    with (out / "descriptions.csv").open(encoding="utf-8", newline="") as file:
        texts = {row["image"]: row["text"] for row in csv.DictReader(file)}
    images = sorted(out.rglob("*.png"), key=lambda path: path.relative_to(out).as_posix())
    assert sorted(texts) == [path.relative_to(out).as_posix() for path in images]
    assert next(text for image, text in texts.items() if "1f427.png" in image).startswith("penguin")
    assert len({path.read_bytes() for path in images}) == len(images)
    counts = Counter(path.relative_to(out).parts[:2] for path in images)
    assert counts == {(split, name): n for name, sizes in meta["classes"].items() for split, n in sizes.items()}
    for path in images:
        with Image.open(path) as image:
            assert (image.size, image.mode, image.getpixel((0, 0))) == ((64, 64), "RGB", (255, 255, 255))
            assert len(image.getcolors(64 * 64)) > 10  # a drawing, and not an empty box


@needs_packages
def test_emoji_that_cannot_be_used_are_named():
    names = ("grinning", "grinning again", "unnamed", "absent")
    texts = ("\u263a\ufe0f", "\u263a", "\U0001f601", "\U0010fff0")  # two spellings of one picture
    candidates = [prepare.Emoji(tuple(map(ord, text)), name, "face") for name, text in zip(names, texts, strict=True)]
    annotations = {"\u263a": ("smiling", ["face"]), "\U0010fff0": ("absent", [])}
    painter = prepare.GlyphPainter(SOURCES.font, 32)
    kept = prepare.collect(candidates, annotations, painter)
    assert kept.descriptions == {candidates[0]: "smiling: face"}
    assert kept.skipped == {
        "same image as another": ["grinning again (as grinning)"], "no CLDR name": ["unnamed"],
        "the font lacks it": ["absent"],
    }  # fmt: skip
    assert painter.problem("\U0001f600\u200d\U0001f427") == "not one glyph"


# further drawings


def drawing(color: tuple[int, ...], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (72, 72), color).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_every_emoji_gets_the_drawings_that_there_are(tmp_path, capsys):
    emoji, out = tmp_path / "emoji", tmp_path / "more"
    rows = [("train/face/263a-fe0f.png", "smiling face"), ("val/hand/23-fe0f-20e3.png", "keycap")]
    for image, _ in rows:
        (emoji / image).parent.mkdir(parents=True)
        (emoji / image).write_bytes(drawing((200, len(image), 0, 255)))
    with (emoji / "descriptions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    (emoji / "meta.json").write_text(json.dumps({"settings": {"size": 128}}))
    first = packed(tmp_path / "emoji-datasource-some-16.0.0.tgz", {
        "package/img/some/64/263a-fe0f.png": drawing((0, 0, 255, 128)),
        "package/img/some/64/0023-fe0f-20e3.png": drawing((0, 255, 0, 255)),
        "package/img/some/64/1f600.png": drawing((9, 9, 9, 255)),
    })  # fmt: skip
    second = packed(tmp_path / "other-1.0.0.tgz", {"package/assets/263a.webp": drawing((255, 0, 0, 0), "WEBP")})
    same = packed(tmp_path / "same-1.0.0.tgz", {"package/assets/263a.webp": drawing((255, 0, 0, 0), "WEBP")})
    call = [str(emoji), "--archives", str(first), str(second), str(same), "--out", str(out)]
    assert drawings.main(call) == 0
    assert "3 train and 2 val images" in capsys.readouterr().out
    with (out / "descriptions.csv").open(newline="") as file:
        texts = {row["image"]: row["text"] for row in csv.DictReader(file)}
    assert list(texts) == sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        "train/face/263a-fe0f-emoji-datasource-some.png", "train/face/263a-fe0f-other.png", "train/face/263a-fe0f.png",
        "val/hand/23-fe0f-20e3-emoji-datasource-some.png", "val/hand/23-fe0f-20e3.png",
    ]  # fmt: skip
    assert texts["train/face/263a-fe0f-other.png"] == "smiling face"
    with Image.open(out / "train/face/263a-fe0f-emoji-datasource-some.png") as image:
        assert image.size == (64, 64)
        assert image.getpixel((9, 9)) == pytest.approx((127, 127, 255), abs=1)  # half transparent, on white
    assert drawings.main(call) == 1
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(DataError, match="no emoji pictures"):
        drawings.pictures(packed(tmp_path / "empty.tgz", {"package/readme.md": b"no pictures"}))
