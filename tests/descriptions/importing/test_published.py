"""The published list: torchvision's order of files, and refusals."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torchvision.datasets import ImageFolder

from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.import_ import import_descriptions as run
from sightwords.descriptions.import_readers import load_list
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError

# names that tell apart the orders one could think of: nested and dotted folders, capitals, digits, accents, hidden
FILES = (
    "b/2.jpg", "b/10.JPG", "b/a.PNG", "b/Z.webp", "b/sub/1.jpeg", "b/sub/deep/x.tif", "b/sub.d/1.jpg", "b/sub-e/1.png",
    "b/0sub/9.bmp", "a/.hidden.jpg", "a/é.jpg", "a/e.jpg", "a/f.TIFF", "C/x.ppm", "C/y.pgm", "10/1.jpg", "9/1.jpg",
    ".dot/1.jpg",
)  # fmt: skip
OTHERS = ("b/notes.txt", "b/movie.gif", "a/image.avif", "a/archive.jpg.zip", "top.jpg", "b/sub/.DS_Store")


@pytest.fixture
def folder(tmp_path, draw) -> Path:
    root = tmp_path / "set" / "train"
    for number, name in enumerate(FILES + OTHERS):
        draw(root / name, number)
    return root


@pytest.fixture
def save(tmp_path):
    """Return a function that writes a value as a torch file."""

    def write(value: object) -> Path:
        torch.save(value, tmp_path / "list.pt")
        return tmp_path / "list.pt"

    return write


@pytest.mark.parametrize("flag", ["images", "train"])
def test_texts_go_to_the_images_they_were_written_for(folder, tmp_path, save, flag):
    samples = [Path(path) for path, _ in ImageFolder(str(folder)).samples]
    source = save([f"text of {path.relative_to(folder)}" for path in samples])
    broken = samples[4]  # a file that cannot be read counts in the order
    broken.unlink()
    broken.symlink_to(tmp_path / "nowhere.jpg")  # a file whose bytes cannot be had, for root too
    root = folder.parent if flag == "images" else folder
    result = run(ImportConfig(source, **{flag: str(root)}, out=tmp_path / "D.db"))
    with DescriptionSet(result.out) as store:
        names = store.images()
        texts = {(root / names[one.key][0]).relative_to(folder): one.text for one in store.descriptions()}
    # the dataset leaves hidden files out, too; their texts are counted and fall to nobody else
    hidden = {Path(name) for name in FILES if Path(name).name.startswith(".")}
    assert texts.keys() == {Path(name) for name in FILES} - hidden - {broken.relative_to(folder)}
    assert all(text == f"text of {path}" for path, text in texts.items())
    assert len(result.unmatched) == len(hidden) + 1 == 2
    assert [Path(problem.name).name for problem in result.problems] == [broken.name]


@pytest.mark.parametrize("difference", [-1, 1])
def test_another_count_is_refused(folder, tmp_path, save, difference):
    source = save(["text"] * (len(FILES) + difference))
    with pytest.raises(ArtifactError, match=f"{len(FILES) + difference} texts.*{len(FILES)} image files"):
        run(ImportConfig(source, images=str(folder.parent), out=tmp_path / "D.db"))
    assert not (tmp_path / "D.db").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": "b"}, "a dict"),
        (["a", 3], "list of int, str"),
        (torch.zeros(3), "a Tensor"),
        (["\ud800"], "Unicode"),
    ],
)
def test_anything_but_strings_is_refused(save, value, message):
    with pytest.raises(ArtifactError, match=message):
        load_list(save(value))


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_the_file_is_not_run(tmp_path, save, how):
    source, trap = tmp_path / "list.pt", tmp_path / "trap"
    if how == "torch":
        save([_Evil(trap)])
    else:
        source.write_bytes(pickle.dumps([_Evil(trap)]))
    with pytest.raises(ArtifactError, match="cannot be loaded"):
        load_list(source)
    assert not trap.exists()


@pytest.mark.parametrize("content", [None, b"", b"not a torch file", b"PK\x03\x04 broken"])
def test_missing_and_damaged_files_are_refused(tmp_path, content):
    source = tmp_path / "list.pth"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(ArtifactError, match="There is no file" if content is None else "cannot be loaded"):
        load_list(source)


def test_a_table_of_images_has_no_order_of_files(tmp_path, save):
    table = tmp_path / "images.csv"
    table.write_text("image,label\na.png,x\n")
    with pytest.raises(ConfigError, match="needs a folder of train images"):
        run(ImportConfig(save(["a"]), images=str(table), out=tmp_path / "D.db"))
