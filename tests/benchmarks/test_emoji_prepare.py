from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, features

from sightwords.errors import ConfigError, DataError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "emoji" / "prepare.py"
spec = importlib.util.spec_from_file_location("emoji_prepare", SCRIPT)
assert spec is not None
assert spec.loader is not None
prepare = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = prepare  # dataclasses look their module up by name
spec.loader.exec_module(prepare)

SOURCES = prepare.Sources()
MISSING = [str(file) for files in SOURCES.by_package().values() for file in files if not file.is_file()]
needs_packages = pytest.mark.skipif(
    bool(MISSING), reason=f"not found: {', '.join(MISSING)}; apt-get install {' '.join(prepare.PACKAGES)}"
)
needs_raqm = pytest.mark.skipif(not features.check("raqm"), reason="Pillow found no raqm layout (libfribidi0)")

EMOJI_TEST = """\
# emoji-test.txt
# group: Smileys & Emotion

# subgroup: face-test
1F600                  ; fully-qualified     # \U0001f600 E1.0 grinning face
263A FE0F              ; fully-qualified     # \u263a\ufe0f E0.6 smiling face
263A                   ; unqualified         # \u263a E0.6 smiling face

# group: People & Body
# subgroup: hand-test
1F44B                  ; fully-qualified     # \U0001f44b E0.6 waving hand
1F44B 1F3FB            ; fully-qualified     # \U0001f44b\U0001f3fb E1.0 waving hand: light skin tone
1F44B 1F3FF            ; fully-qualified     # \U0001f44b\U0001f3ff E1.0 waving hand: dark skin tone
1F441 FE0F 200D 1F5E8  ; minimally-qualified # \U0001f441 E2.0 eye in speech bubble
0023 FE0F 20E3         ; fully-qualified     # #\ufe0f\u20e3 E0.6 keycap: #

# group: Component
# subgroup: hair-style
1F9B0                  ; component           # \U0001f9b0 E11.0 red hair

# group: Flags
# subgroup: country-flag
1F1E6 1F1E8            ; fully-qualified     # \U0001f1e6\U0001f1e8 E2.0 flag: Ascension Island
1F3F4 200D 2620        ; minimally-qualified # \U0001f3f4\u200d\u2620 E11.0 pirate flag
#EOF
"""

ANNOTATIONS = """<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE ldml SYSTEM "../../common/dtd/ldml.dtd">
<ldml><annotations>
  <annotation cp="\U0001f600">face | grin | grinning face</annotation>
  <annotation cp="\U0001f600" type="tts">grinning face</annotation>
  <annotation cp="\u263a" type="tts">smiling face</annotation>
  <annotation cp="\u2639">face | sad</annotation>
</annotations></ldml>
""".encode()


def emoji_of(*sizes: int) -> list:
    """Return classes of `sizes` made-up emoji."""
    pairs = [(label, i) for label, size in enumerate(sizes) for i in range(size)]
    return [prepare.Emoji((0x1F000 + 256 * label + i,), f"{label} {i}", f"class-{label}") for label, i in pairs]


# the parsers


def test_subgroup_becomes_the_label_and_only_fully_qualified_forms_count():
    emoji, _ = prepare.parse_emoji_test(EMOJI_TEST)
    assert [(one.stem, one.name, one.subgroup) for one in emoji] == [
        ("1f600", "grinning face", "face-test"),
        ("263a-fe0f", "smiling face", "face-test"),
        ("1f44b", "waving hand", "hand-test"),
        ("23-fe0f-20e3", "keycap: #", "hand-test"),
    ]
    assert emoji[1].text == "\u263a\ufe0f"
    assert emoji[1].cldr_key == "\u263a"


def test_flags_skin_tones_and_components_are_excluded_and_counted():
    _, excluded = prepare.parse_emoji_test(EMOJI_TEST)
    assert excluded == {"skin tone": 2, "component": 1, "flag": 1}


def test_line_of_another_format_is_an_error_with_its_number():
    with pytest.raises(DataError, match=r"Line 2 .*not an emoji"):
        prepare.parse_emoji_test("# group: Objects\nnot an emoji\n")


def test_file_without_emoji_is_an_error():
    with pytest.raises(DataError, match="no fully-qualified emoji"):
        prepare.parse_emoji_test("# group: Objects\n")


def test_annotations_need_a_name_and_may_lack_keywords():
    assert prepare.parse_annotations([ANNOTATIONS]) == {
        "\U0001f600": ("grinning face", ["face", "grin", "grinning face"]),
        "\u263a": ("smiling face", []),
    }


def test_first_annotation_document_wins():
    derived = ANNOTATIONS.replace(b">grinning face<", b">derived<").replace(b"face | grin", b"derived")
    derived = derived.replace("\u2639".encode(), "\u263a".encode())
    both = prepare.parse_annotations([ANNOTATIONS, derived])
    assert both["\U0001f600"] == ("grinning face", ["face", "grin", "grinning face"])
    assert both["\u263a"] == ("smiling face", ["face", "sad"])


def test_damaged_annotations_are_an_error():
    with pytest.raises(DataError, match="damaged"):
        prepare.parse_annotations([ANNOTATIONS[:-20]])


@pytest.mark.parametrize(
    ("name", "keywords", "text"),
    [
        ("grinning face", ["face", "grin", "Grinning Face"], "grinning face: face, grin"),
        ("sleepy", ["sleepy"], "sleepy"),
        ("sleepy", [], "sleepy"),
        ("dog", ["pet", "pet"], "dog: pet"),
        ("man: red hair", ["adult", "man"], "man: red hair; adult, man"),
    ],
)
def test_description_is_the_name_then_keywords_that_do_not_repeat_it(name, keywords, text):
    assert prepare.describe(name, keywords) == text


# classes and split


def test_classes_below_eight_emoji_are_dropped_and_named():
    emoji = emoji_of(8, 7, 9)
    kept = prepare.Collection(emoji=emoji)
    assert prepare.drop_small_classes(kept) == {"class-1": 7}
    assert kept.emoji == [one for one in emoji if one.subgroup != "class-1"]


def test_no_class_left_is_an_error():
    with pytest.raises(DataError, match="No subgroup has 8"):
        prepare.drop_small_classes(prepare.Collection(emoji=emoji_of(7, 3)))


def test_split_takes_its_share_of_every_class():
    sizes = (8, 9, 40, 100)
    val = prepare.validation_emoji(emoji_of(*sizes), 0.25, seed=0)
    assert Counter(one.subgroup for one in val) == {f"class-{i}": round(size / 4) for i, size in enumerate(sizes)}


@pytest.mark.parametrize(("val_fraction", "num_val"), [(0.001, 1), (0.999, 7)])
def test_both_splits_of_a_class_have_an_emoji(val_fraction, num_val):
    assert len(prepare.validation_emoji(emoji_of(8), val_fraction, seed=0)) == num_val


def test_split_does_not_depend_on_order_or_other_classes_but_on_the_seed():
    emoji = emoji_of(40, 40)
    val = prepare.validation_emoji(emoji, 0.25, seed=0)
    assert prepare.validation_emoji(emoji[::-1], 0.25, seed=0) == val
    alone = prepare.validation_emoji(emoji[40:], 0.25, seed=0)
    assert alone == {one for one in val if one.subgroup == "class-1"}
    assert prepare.validation_emoji(emoji, 0.25, seed=1) != val
    # the order is a published function, so it is the same on every machine
    by_hash = sorted(emoji[:40], key=lambda one: hashlib.sha256(f"0:{one.codepoints[0]:x}".encode()).hexdigest())
    assert {one for one in val if one.subgroup == "class-0"} == set(by_hash[:10])


# the command line and the folder


@pytest.mark.parametrize("lost", ["font", "emoji_test", "annotations", "derived_annotations"])
def test_missing_package_is_named_with_the_way_to_get_it(lost, tmp_path):
    paths = {name: tmp_path / name for name in ("font", "emoji_test", "annotations", "derived_annotations")}
    for name, path in paths.items():
        if name != lost:
            path.touch()
    with pytest.raises(DataError) as caught:
        prepare.prepare(prepare.Options(tmp_path / "out"), prepare.Sources(**paths))
    message = str(caught.value)
    assert str(paths[lost]) in message
    assert message.count(str(tmp_path)) == 1
    assert "apt-get install fonts-noto-color-emoji unicode-cldr-core unicode-data" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [{"size": 15}, {"val_fraction": 0.0}, {"val_fraction": 1.0}])
def test_bad_option_is_refused(bad, tmp_path):
    with pytest.raises(ConfigError, match=r"must (be at least|lie between)"):
        prepare.Options(tmp_path, **bad)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_folder_of_someone_else_is_left_alone(force, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert prepare.main(["--out", str(tmp_path), *force]) == 1
    assert "did not make" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


# with the real packages


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> prepare.Sources:
    """The real packages with a short emoji-test.txt: four subgroups of the real one."""
    wanted, lines, kept = ("face-smiling", "animal-bird", "geometric", "keycap", "country-flag"), [], True
    for line in SOURCES.emoji_test.read_text(encoding="utf-8").split("\n"):
        if line.startswith("# subgroup: "):
            kept = line.removeprefix("# subgroup: ").strip() in wanted
        if kept or line.startswith("#"):
            lines.append(line)
    path = tmp_path_factory.mktemp("source") / "emoji-test.txt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return prepare.Sources(emoji_test=path)


@pytest.fixture(scope="module")
def made(few, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("made") / "emoji"
    prepare.prepare(prepare.Options(out, size=64), few)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_set(out: Path, size: int) -> None:
    """Check what must hold for any set: splits, images, descriptions and counts agree."""
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    with (out / "descriptions.csv").open(encoding="utf-8", newline="") as file:
        texts = {row["image"]: row["text"] for row in csv.DictReader(file)}
    images = sorted(out.rglob("*.png"), key=lambda path: path.relative_to(out).as_posix())
    assert sorted(texts) == [path.relative_to(out).as_posix() for path in images]
    assert all(texts.values())
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in images}) == len(images)
    assert len({path.name for path in images}) == len(images)
    counts = Counter(path.relative_to(out).parts[:2] for path in images)
    assert counts == {(split, name): n for name, sizes in meta["classes"].items() for split, n in sizes.items()}
    assert min(sizes["train"] + sizes["val"] for sizes in meta["classes"].values()) >= 8
    assert meta["num_train"] + meta["num_val"] == len(images)
    for path in images:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((size, size), "RGB")
            assert image.getpixel((0, 0)) == (255, 255, 255)
            assert len(image.getcolors(size * size)) > 10


@needs_packages
@needs_raqm
def test_set_of_a_few_subgroups(made):
    check_set(made, 64)
    meta = json.loads((made / "meta.json").read_text(encoding="utf-8"))
    assert set(meta["classes"]) == {"face-smiling", "animal-bird", "geometric", "keycap"}
    assert meta["excluded_by_rule"]["flag"] > 200
    assert {source["package"] for source in meta["sources"]} == set(prepare.PACKAGES)
    texts = (made / "descriptions.csv").read_bytes()
    assert b"/animal-bird/1f427.png,penguin" in texts
    assert b"\r" not in texts


@needs_packages
def test_repeat_gives_equal_bytes(made, few, tmp_path):
    prepare.prepare(prepare.Options(tmp_path / "again", size=64), few)
    assert contents(tmp_path / "again") == contents(made)


@needs_packages
def test_complete_set_is_reported_and_left_alone(made, few, capsys):
    stamp = (made / "meta.json").stat().st_mtime_ns
    meta = prepare.prepare(prepare.Options(made, size=64), few)
    assert "there already and complete" in capsys.readouterr().out
    assert meta == json.loads((made / "meta.json").read_text(encoding="utf-8"))
    assert (made / "meta.json").stat().st_mtime_ns == stamp


@needs_packages
def test_set_with_other_settings_or_a_lost_image_needs_force(made, few, tmp_path):
    out = tmp_path / "emoji"
    shutil.copytree(made, out)
    with pytest.raises(ConfigError, match=r"'size': 64.*'size': 32.*--force"):
        prepare.prepare(prepare.Options(out, size=32), few)
    next(out.rglob("*.png")).unlink()
    with pytest.raises(ConfigError, match="1 of its files are missing"):
        prepare.prepare(prepare.Options(out, size=64), few)
    prepare.prepare(prepare.Options(out, size=64, force=True), few)
    assert contents(out) == contents(made)
    assert [path.name for path in tmp_path.iterdir()] == ["emoji"]


@needs_packages
def test_force_does_not_delete_what_others_put_there(made, few, tmp_path):
    out = tmp_path / "emoji"
    shutil.copytree(made, out)
    (out / "descriptions.db").write_text("answers that took days")
    with pytest.raises(ConfigError, match=r"descriptions\.db"):
        prepare.prepare(prepare.Options(out, size=64, force=True), few)
    assert (out / "descriptions.db").is_file()


@needs_packages
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_interrupted_run_leaves_nothing(error, few, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(prepare.json, "dumps", stop)  # called when all images are written
    with pytest.raises(error):
        prepare.prepare(prepare.Options(tmp_path / "emoji", size=64), few)
    assert not list(tmp_path.iterdir())


def test_interrupt_is_reported_without_a_traceback(tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "prepare", stop)
    assert prepare.main(["--out", str(tmp_path / "emoji")]) == 130
    assert "is as it was before" in capsys.readouterr().err


@needs_packages
def test_interrupted_force_keeps_the_old_set(made, few, tmp_path, monkeypatch):
    out = tmp_path / "emoji"
    shutil.copytree(made, out)
    monkeypatch.setattr(prepare.csv, "writer", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare.prepare(prepare.Options(out, size=64, seed=7, force=True), few)
    assert contents(out) == contents(made)


@needs_packages
def test_painter_fits_the_whole_glyph_into_the_middle():
    image = Image.open(prepare.io.BytesIO(prepare.GlyphPainter(SOURCES.font, 128).png("\U0001f535")))  # blue circle
    pixels = [(x, y) for x in range(128) for y in range(128) if min(image.getpixel((x, y))) < 200]
    columns, rows = sorted({x for x, _ in pixels}), sorted({y for _, y in pixels})
    assert abs(columns[0] + columns[-1] - 127) <= 2
    assert abs(rows[0] + rows[-1] - 127) <= 4
    assert 100 <= len(columns) <= 127
    assert abs(len(columns) - len(rows)) <= 2
    red, green, blue = image.getpixel((64, 64))
    assert blue > 150
    assert blue > green > red


@needs_packages
def test_painter_reports_what_is_not_one_glyph():
    painter = prepare.GlyphPainter(SOURCES.font, 128)
    assert painter.problem("\U0001f600") is None
    assert painter.problem("\u263a\ufe0f") is None
    assert painter.problem("\U0010fff0") == "the font lacks it"
    assert painter.problem("\U0001f600\U0001f601") == "not one glyph"
    assert painter.problem("\U0001f600\u200d\U0001f427") == "not one glyph"


@needs_packages
@needs_raqm
def test_sequences_are_joined_with_raqm_and_reported_without(monkeypatch):
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    with_raqm = prepare.GlyphPainter(SOURCES.font, 64)
    assert with_raqm.problem(family) is None
    monkeypatch.setattr(prepare.features, "check", lambda _: False)
    without = prepare.GlyphPainter(SOURCES.font, 64)
    assert without.problem(family) == "not one glyph"
    assert without.problem("\u263a\ufe0f") is None
    assert without.png("\u263a\ufe0f") == with_raqm.png("\u263a\ufe0f")


@needs_packages
def test_collect_names_what_it_leaves_out_and_keeps_the_first_of_equal_images():
    names = ("grinning", "grinning again", "unnamed", "absent")
    texts = ("\u263a\ufe0f", "\u263a", "\U0001f601", "\U0010fff0")  # two spellings of one picture
    candidates = [prepare.Emoji(tuple(map(ord, text)), name, "face") for name, text in zip(names, texts, strict=True)]
    annotations = {"\u263a": ("smiling", ["face"]), "\U0010fff0": ("absent", [])}
    kept = prepare.collect(candidates, annotations, prepare.GlyphPainter(SOURCES.font, 32))
    assert kept.emoji == candidates[:1]
    assert kept.descriptions == {candidates[0]: "smiling: face"}
    assert kept.skipped == {
        "same image as another": ["grinning again (as grinning)"],
        "no CLDR name": ["unnamed"],
        "the font lacks it": ["absent"],
    }


@needs_packages
@needs_raqm
@pytest.mark.slow
def test_whole_set_through_the_command_line(tmp_path, capsys):
    out = tmp_path / "emoji"
    assert prepare.main(["--out", str(out)]) == 0
    check_set(out, 128)
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    candidates, _ = prepare.parse_emoji_test(SOURCES.emoji_test.read_text(encoding="utf-8"))
    num_skipped = sum(map(len, meta["skipped"].values())) + sum(meta["small_classes"].values())
    assert meta["num_train"] + meta["num_val"] + num_skipped == len(candidates)
    assert meta["num_classes"] > 60
    assert meta["num_val"] / len(candidates) == pytest.approx(0.25, abs=0.05)
    assert not any("flag" in name for name in meta["classes"])
    printed = capsys.readouterr().out
    assert f"{meta['num_classes']} classes, {meta['num_train']} train and {meta['num_val']} val images" in printed
    assert f"{sum(meta['small_classes'].values())} (subgroup with fewer than 8 emoji): animal-amphibian 1, " in printed
    assert f"Next: sightwords import {out}/descriptions.csv --images {out} --out {out}/descriptions.db" in printed
