"""The data set on disk: same bytes for same arguments, restartable, and every file says what it shows."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sightwords.demonstration.dataset import DESCRIPTION_CHUNK, RECORD_CHUNK, encode_bird, read_record, write_birds
from sightwords.demonstration.description import STYLES, describe_bird
from sightwords.demonstration.record import make_record
from sightwords.demonstration.species import SPECIES
from sightwords.errors import ConfigError, DataError

SIZE = 32
NUM_IMAGES = 3 * len(SPECIES)


def draw(folder: Path, **changes: int) -> dict[str, bytes]:
    write_birds(folder, **{"num_train": 2, "num_val": 1, "image_size": SIZE, **changes})
    return content(folder)


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "birds"
    draw(folder)
    return folder


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def test_layout(birds: Path) -> None:
    names = {name for name in content(birds) if name.endswith(".png")}
    expected = {f"train/{species}/{index:03d}.png" for species in SPECIES for index in range(2)}
    assert names == expected | {f"val/{species}/000.png" for species in SPECIES}


def test_files_are_pngs_of_the_size_asked_for(birds: Path) -> None:
    with Image.open(birds / "val" / "kettle_jay" / "000.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (SIZE, SIZE))


def test_same_arguments_same_bytes(birds: Path, tmp_path: Path) -> None:
    assert draw(tmp_path / "again") == content(birds)


def test_another_seed_gives_other_images(birds: Path, tmp_path: Path) -> None:
    other = draw(tmp_path / "other", seed=1)
    assert not set(other.values()) & set(content(birds).values())


def test_no_two_images_have_the_same_pixels(birds: Path) -> None:
    pixels = set()
    for path in birds.rglob("*.png"):
        with Image.open(path) as image:
            pixels.add(hashlib.sha256(image.tobytes()).hexdigest())
    assert len(pixels) == NUM_IMAGES


def test_fewer_images_are_the_first_of_many(birds: Path, tmp_path: Path) -> None:
    fewer = {name: data for name, data in draw(tmp_path / "fewer", num_train=1).items() if name.endswith(".png")}
    assert fewer.items() <= content(birds).items()


def test_every_file_carries_its_record_and_its_descriptions(birds: Path) -> None:
    for path in birds.rglob("*.png"):
        record = make_record(0, path.parent.name, path.parent.parent.name, int(path.stem))
        assert read_record(path.read_bytes()) == record
        with Image.open(path) as image:
            assert json.loads(image.info[DESCRIPTION_CHUNK]) == {s: describe_bird(record, s) for s in STYLES}


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_other_images_have_no_record(image_format: str) -> None:
    with pytest.raises(DataError, match=r"only describes images that `sightwords demo` drew.*hf:.*server:"):
        read_record(encoded(Image.new("RGB", (8, 8)), image_format))


def test_what_is_no_image_has_no_record() -> None:
    with pytest.raises(DataError, match="9 bytes are not an image"):
        read_record(b"not a png")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"species": "kettle_jay"}', json.dumps({"parts": {"wings": 3}})])
def test_damaged_record_is_refused(text: str) -> None:
    info = PngInfo()
    info.add_text(RECORD_CHUNK, text)
    with pytest.raises(DataError, match="damaged or of another version"):
        read_record(encoded(Image.new("RGB", (8, 8)), "PNG", pnginfo=info))


def test_interrupted_drawing_continues_to_the_same_bytes(birds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        if len(done) == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_birds(folder, 2, 1, SIZE, progress=interrupt)
    assert len(list(folder.rglob("*.png"))) == 17
    assert draw(folder) == content(birds)


def test_what_a_kill_left_half_written_is_no_image_and_is_cleared(birds: Path, tmp_path: Path) -> None:
    folder = tmp_path / "birds"
    expected = draw(folder)
    victim = folder / "train" / "orchard_jay" / "001.png"
    victim.rename(victim.with_name("001.png.partial"))
    victim.with_name("001.png.partial").write_bytes(b"half")
    assert draw(folder) == expected == content(birds)


def test_complete_files_are_not_written_again(tmp_path: Path) -> None:
    draw(tmp_path / "birds")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "birds").rglob("*.png")}
    inodes = {path: path.stat().st_ino for path in before}
    done: list[int] = []
    write_birds(tmp_path / "birds", 2, 1, SIZE, progress=done.append)
    assert done == [1] * NUM_IMAGES
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path: path.stat().st_ino for path in before} == inodes


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_train": 1}, {"num_val": 2}, {"image_size": 48}])
def test_two_data_sets_do_not_mix(change: dict[str, int], tmp_path: Path) -> None:
    before = draw(tmp_path / "birds")
    with pytest.raises(DataError, match="Choose another folder, or delete this one"):
        draw(tmp_path / "birds", **change)
    assert content(tmp_path / "birds") == before


def test_a_folder_of_other_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no paper birds"):
        draw(tmp_path)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("change", [{"num_train": -1}, {"num_val": -1}, {"image_size": 8}])
def test_numbers_out_of_range_are_refused(change: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 or more"):
        draw(tmp_path / "birds", **change)
    assert not (tmp_path / "birds").exists()


def test_files_are_small() -> None:
    data = encode_bird(make_record(0, "tinker_shrike", "val", 0), 96)
    assert len(data) < 40_000
