from __future__ import annotations

import csv
import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from sightwords.errors import ConfigError, DataError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "emoji" / "drawings.py"
spec = importlib.util.spec_from_file_location("emoji_drawings", SCRIPT)
assert spec is not None
assert spec.loader is not None
drawings = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = drawings
spec.loader.exec_module(drawings)


def picture(color: tuple[int, ...], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (72, 72), color).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


@pytest.fixture
def emoji(tmp_path):
    """A set as prepare.py leaves it: two emoji."""
    folder = tmp_path / "emoji"
    rows = [("train/face/263a-fe0f.png", "smiling face"), ("val/hand/23-fe0f-20e3.png", "keycap")]
    for image, _ in rows:
        (folder / image).parent.mkdir(parents=True)
        (folder / image).write_bytes(picture((200, len(image), 0, 255)))
    with (folder / "descriptions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text"), *rows])
    (folder / "meta.json").write_text(json.dumps({"settings": {"size": 128}, "num_train": 1, "num_val": 1}))
    return folder


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_every_emoji_gets_the_drawings_that_there_are(emoji, tmp_path, capsys):
    first = packed(tmp_path / "emoji-datasource-some-16.0.0.tgz", {
        "package/img/some/64/263a-fe0f.png": picture((0, 0, 255, 128)),
        "package/img/some/64/0023-fe0f-20e3.png": picture((0, 255, 0, 255)),
        "package/img/some/64/1f600.png": picture((9, 9, 9, 255)),
    })  # fmt: skip
    second = packed(tmp_path / "other-1.0.0.tgz", {"package/assets/263a.webp": picture((255, 0, 0, 0), "WEBP")})
    out = tmp_path / "more"
    assert drawings.main([str(emoji), "--archives", str(first), str(second), "--out", str(out)]) == 0
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert files == [
        "train/face/263a-fe0f-emoji-datasource-some.png", "train/face/263a-fe0f-other.png", "train/face/263a-fe0f.png",
        "val/hand/23-fe0f-20e3-emoji-datasource-some.png", "val/hand/23-fe0f-20e3.png",
    ]  # fmt: skip
    with (out / "descriptions.csv").open(newline="") as file:
        texts = {row["image"]: row["text"] for row in csv.DictReader(file)}
    assert sorted(texts) == files
    assert texts["train/face/263a-fe0f-other.png"] == "smiling face"
    with Image.open(out / "train/face/263a-fe0f-emoji-datasource-some.png") as image:
        assert image.size == (64, 64)
        assert image.getpixel((9, 9)) == pytest.approx((127, 127, 255), abs=1)  # half transparent, on white
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["num_train"], meta["num_val"]) == (3, 2)
    assert "3 train and 2 val images" in capsys.readouterr().out


def test_equal_drawings_are_one(emoji, tmp_path):
    same = {"package/assets/263a.png": picture((1, 2, 3, 255))}
    archives = {name: packed(tmp_path / f"{name}.tgz", same) for name in ("a", "b")}
    assert drawings.write(emoji, archives, 64, tmp_path / "more")["num_train"] == 2


def test_bad_archives_and_places_are_told(emoji, tmp_path):
    empty = packed(tmp_path / "empty.tgz", {"package/readme.md": b"no pictures"})
    with pytest.raises(DataError, match="holds no emoji pictures"):
        drawings.pictures(empty)
    (tmp_path / "broken.tgz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="cannot be read"):
        drawings.pictures(tmp_path / "broken.tgz")
    with pytest.raises(ConfigError, match="exists already"):
        drawings.write(emoji, {}, 64, emoji)
