from __future__ import annotations

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightwords.errors import ConfigError, DataError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import Split, locate, open_dataset
from sightwords.images.keys import image_key
from sightwords.images.references import ImageReference
from support.images import CLASSES, draw


def png(class_name: str, seed: int) -> bytes:
    out = io.BytesIO()
    draw(class_name, seed).save(out, "PNG")
    return out.getvalue()


def content(dataset, split="train"):
    """Return {key: label ids} of a split: what must not depend on the layout."""
    images = dataset.split(split)
    return {images.key(i): tuple(dataset.class_ids[j] for j in images.labels(i)) for i in range(len(images))}


EXPECTED = {image_key(png(name, seed)): (name,) for name in CLASSES for seed in range(4)}
EXPECTED_VAL = {image_key(png(name, seed)): (name,) for name in CLASSES for seed in range(10, 12)}
ROWS = [
    (split, name, seed)
    for split, seeds in (("train", range(4)), ("val", range(10, 12)))
    for name in CLASSES
    for seed in seeds
]


def write_folder(root):
    for split, name, seed in ROWS:
        path = root / split / name / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(name, seed))
    return str(root)


def write_csv(root):
    write_folder(root)
    lines = ["image,label,split"] + [f"{split}/{name}/{seed}.png,{name},{split}" for split, name, seed in ROWS]
    (root / "table.csv").write_text("\n".join(lines))
    return str(root / "table.csv")


def write_hub_parquet(root):
    """The layout of the Hugging Face hub: bytes inside, integer labels, names in the schema's metadata."""
    (root / "data").mkdir(parents=True)
    names = sorted(CLASSES)
    for split, published in (("train", "train"), ("val", "validation")):
        rows = [(name, seed) for s, name, seed in ROWS if s == split]
        image = pa.array([{"bytes": png(n, i), "path": f"{n}{i}.png"} for n, i in rows])
        table = pa.table({"img": image, "fine_label": [names.index(n) for n, _ in rows]})
        features = {"fine_label": {"names": names, "_type": "ClassLabel"}, "img": {"_type": "Image"}}
        metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), root / "data" / f"{published}-00000-of-00001.parquet")
    return str(root)


def write_shards(root):
    root.mkdir(parents=True)
    for split in ("train", "val"):
        with tarfile.open(root / f"{split}-000.tar", "w") as tar:
            for s, name, seed in ROWS:
                if s == split:
                    for suffix, data in (("png", png(name, seed)), ("cls", name.encode())):
                        info = tarfile.TarInfo(f"a/{name}{seed}.{suffix}")
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
    return str(root)


LAYOUTS = [write_folder, write_csv, write_hub_parquet, write_shards]


@pytest.mark.parametrize("write", LAYOUTS)
def test_every_layout_gives_the_same_images_and_labels(tmp_path, write):
    dataset = open_dataset(ImagesConfig(write(tmp_path / "set")), show=False)
    assert dataset.class_ids == sorted(CLASSES)
    assert content(dataset) == EXPECTED
    assert content(dataset, "val") == EXPECTED_VAL
    images = dataset.split("train")
    assert images.keys() == sorted(EXPECTED)  # the order depends on the bytes alone
    assert [image_key(images.reference(i).read()) for i in range(len(images))] == images.keys()


def test_the_order_is_by_key_then_name_then_listing(tmp_path):
    write_folder(tmp_path)
    for name in ("z", "a", "m"):
        (tmp_path / "train" / "bar" / f"{name}.png").write_bytes(png("disc", 1))
    images = open_dataset(ImagesConfig(str(tmp_path)), show=False).split("train")
    places = [(images.key(i), images.reference(i).name) for i in range(len(images))]
    assert places == sorted(places)
    assert [name for key, name in places if key == image_key(png("disc", 1))] == [
        *[f"train/bar/{name}.png" for name in "amz"],
        "train/disc/1.png",
    ]


def test_the_second_look_reads_no_image_and_sees_the_same(tmp_path, monkeypatch):
    write_folder(tmp_path)
    (tmp_path / "train" / "disc" / "gone.png").symlink_to("nowhere")

    def everything():
        dataset = open_dataset(ImagesConfig(str(tmp_path)), show=False)
        images = dataset.split("train")
        rows = [(images.key(i), images.reference(i), images.labels(i).tolist()) for i in range(len(images))]
        return rows, dataset.class_ids, dataset.problems

    first = everything()
    assert [problem.name for problem in first[2]] == ["train/disc/gone.png"]
    read = ImageReference.read
    monkeypatch.setattr(
        ImageReference, "read", lambda self: read(self) if "gone" in self.file else pytest.fail(self.file)
    )
    assert everything() == first


def test_train_and_val_sources_apart(tmp_path):
    root = tmp_path / "set"
    write_folder(root)
    config = ImagesConfig(train=str(root / "train"), val=str(root / "val"))
    dataset = open_dataset(config, show=False)
    assert (content(dataset), content(dataset, "val")) == (EXPECTED, EXPECTED_VAL)
    write_shards(tmp_path / "shards")
    dataset = open_dataset(ImagesConfig(train=f"{tmp_path}/shards/train-{{000..003}}.tar"), ("train",), show=False)
    assert content(dataset) == EXPECTED


def test_several_labels_make_it_multi_label(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "t.csv").write_text("image,label\ntrain/disc/0.png,red|round\ntrain/bar/0.png,blue\n")
    dataset = open_dataset(ImagesConfig(str(tmp_path / "t.csv")), ("train",), show=False)
    assert dataset.multi_label
    assert content(dataset)[image_key(png("disc", 0))] == ("red", "round")


def test_unreadable_and_missing_images_are_named_and_never_replaced(tmp_path):
    write_csv(tmp_path)
    (tmp_path / "train" / "disc" / "0.png").unlink()
    dataset = open_dataset(ImagesConfig(str(tmp_path / "table.csv")), show=False)
    assert [problem.name for problem in dataset.problems] == ["train/disc/0.png"]
    assert "No such file" in dataset.problems[0].reason
    assert content(dataset) == {k: v for k, v in EXPECTED.items() if k != image_key(png("disc", 0))}


def test_a_hub_row_without_an_image_is_a_problem(tmp_path):
    table = pa.table({"image": pa.array([{"bytes": png("disc", 0), "path": None}, None]), "label": [0, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    dataset = open_dataset(ImagesConfig(str(tmp_path / "train.parquet")), ("train",), show=False)
    assert list(map(str, dataset.problems)) == ["train.parquet[1]: the row has no image"]
    assert len(dataset.split("train")) == 1


def test_integer_classes_are_sorted_by_value(tmp_path):
    for i in (10, 9, 2):
        path = tmp_path / "train" / str(i) / "x.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png("disc", i))
    assert open_dataset(ImagesConfig(str(tmp_path)), ("train",), show=False).class_ids == ["2", "9", "10"]


def test_class_names_from_tables_and_imagenet(tmp_path):
    write_folder(tmp_path / "set")
    for name, text in {
        "c.csv": "id,name\nbar,a bar\ndisc,a disc\nsquare,a square\n",
        "c.json": json.dumps({"bar": "a bar", "disc": "a disc", "square": "a square"}),
        "c.txt": "bar a bar\ndisc a disc\nsquare a square\n",
    }.items():
        (tmp_path / name).write_text(text)
        dataset = open_dataset(ImagesConfig(str(tmp_path / "set"), classes=tmp_path / name), show=False)
        assert dataset.class_names == ["a bar", "a disc", "a square"]
    for i, synset in enumerate(("n01440764", "n01443537")):
        path = tmp_path / "in" / "train" / synset / "x.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(png("disc", i))
    names = open_dataset(ImagesConfig(str(tmp_path / "in")), ("train",), show=False).class_names
    assert "tench" in names[0]
    assert "goldfish" in names[1]


def test_shared_images_between_splits_are_counted(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "disc" / "copy.png").write_bytes(png("disc", 0))
    assert open_dataset(ImagesConfig(str(tmp_path)), show=False).num_shared == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: ImagesConfig(str(root / "absent")), "does not exist"),
        (lambda root: ImagesConfig(str(root / "empty")), "No image found below"),
        (lambda root: ImagesConfig(str(root / "bad.csv")), "has none of the columns"),
        (lambda root: ImagesConfig(str(root / "bad.csv"), image_column="foto"), "has no column 'foto'"),
        (lambda root: ImagesConfig(str(root / "bad.tar")), "not a readable uncompressed tar"),
        (lambda root: ImagesConfig(str(root / "split.csv")), "Unknown split 'dev'"),
        (lambda root: ImagesConfig(str(root / "bad.parquet")), "not a readable table"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path, make, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    (tmp_path / "split.csv").write_text("image,label,split\na.png,x,dev\n")
    (tmp_path / "bad.tar").write_bytes(b"nothing")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match=message):
        open_dataset(make(tmp_path), show=False)


def test_a_class_that_training_lacks_is_refused(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "disc").rename(tmp_path / "val" / "disk")
    with pytest.raises(DataError, match="Validation has classes that training lacks: disk"):
        open_dataset(ImagesConfig(str(tmp_path)), show=False)


def test_a_missing_split_is_named_with_what_there_is(tmp_path):
    write_folder(tmp_path)
    dataset = open_dataset(ImagesConfig(train=str(tmp_path / "train")), show=False)
    with pytest.raises(DataError, match=r"no val images. Splits found: train \(12 images\)"):
        dataset.split("val")


def test_config_needs_images_and_a_sane_limit():
    with pytest.raises(ConfigError, match="No images given"):
        ImagesConfig()
    with pytest.raises(ConfigError, match="--limit is 0"):
        ImagesConfig("x", limit=0)


def test_keys_that_begin_alike_are_sorted_by_their_end():
    keys = ["0" * 63 + digit for digit in "3120"] + ["f" + "0" * 63, "0" * 15 + "1" + "f" * 48]
    members = [ImageReference(f"{i}", f"{i}") for i in range(6)]
    images = Split.of(members, keys, [[i] for i in range(6)])
    assert images.keys() == sorted(keys)
    assert [images.reference(i).name for i in range(6)] == ["3", "1", "2", "0", "5", "4"]
    assert [images.labels(i).tolist() for i in range(6)] == [[3], [1], [2], [0], [5], [4]]
    assert images.subset([4, 0, 2]).keys() == [images.key(i) for i in (0, 2, 4)]


def test_a_position_of_all_splits_leads_to_its_image():
    members, keys = [ImageReference(f"{i}.png", f"{i}.png") for i in range(5)], [f"{i:064x}" for i in range(5)]
    splits = {"train": Split.of(members[:3], keys[:3], [[0]] * 3), "val": Split.of(members[3:], keys[3:], [[0]] * 2)}
    found = [locate(splits, position) for position in range(5)]
    assert [(split, images.key(index)) for split, images, index in found] == list(
        zip(3 * ["train"] + 2 * ["val"], keys, strict=True)
    )
    with pytest.raises(IndexError):
        locate(splits, 5)
