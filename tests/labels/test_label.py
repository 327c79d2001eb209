"""Labels from descriptions and class names: without labels, with a few, by a person, and trained on."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from sightwords.descriptions.merge import merge_into
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.images.keys import image_keys
from sightwords.labels.config import LabelConfig
from sightwords.labels.label import label
from sightwords.labels.suggest import suggest
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed
from sightwords.training.run import train
from support.aligned_run import TEXTS
from support.images import write_class_folders
from support.trainings import small_training

NAMES = "id,name\n" + "".join(f"{name},{text}|{text} one\n" for name, text in TEXTS.items())
HOSTILE = "<script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def made(tiny_st, tmp_path_factory):
    """Images in class folders, the same without, their descriptions, vectors and a table of class names."""
    root = tmp_path_factory.mktemp("label")
    images = write_class_folders(root / "images", num_train=16, num_val=2)
    (root / "flat").mkdir()
    words = ["one", "two", "three", "four", "small", "large", "near", "under"]
    with pytest.MonkeyPatch.context() as patch, DescriptionSet(root / "D.db", create=True) as store:
        patch.setenv("SIGHTWORDS_CACHE", str(root / "cache"))
        store.add_prompt(Prompt("plain", 1, "Describe."))
        store.add_describer(DescriberInfo("hf:test", "test"))
        files = sorted((images / "train").rglob("*.png"))
        for file, key in zip(files, image_keys(files), strict=True):
            shutil.copy(file, root / "flat" / f"{file.parent.name}-{file.name}")
            number = int(file.stem)
            more = HOSTILE if (file.parent.name, number) == ("bar", 0) else words[number % 8] + " " + words[number // 8]
            store.put([Description(key, 1, 1, 0, f"{TEXTS[file.parent.name]} {more}")])
        embed(EmbedConfig(root / "D.db", out=root / "E", encoder=f"st:{tiny_st}", device="cpu", precision="fp32"))
    (root / "names.csv").write_text(NAMES)
    return root


@pytest.fixture
def options(made, tmp_path):
    """Labeling of images that have no labels."""
    return LabelConfig(
        str(made / "flat"), embeddings=made / "E", classes=made / "names.csv", out=tmp_path / "labels.csv", device="cpu"
    )


def rows_of(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_class_names_alone_label_images(options):
    result = label(options)
    rows = rows_of(options.out)
    assert len(rows) == 48
    wrong = [row["image"] for row in rows if row["image"].partition("-")[0] != row["label"]]
    assert wrong in ([], ["bar-000.png"])  # whose text is half markup
    assert {(row["source"], row["given"], row["suggest"]) for row in rows} == {("pseudo-label", "", "0")}
    probabilities = [float(row["probability"]) for row in rows]
    assert probabilities == sorted(probabilities)
    for row in rows:
        assert json.loads(row["probabilities"])[row["label"]] == pytest.approx(float(row["probability"]), abs=1e-3)
    low, high = result.interval
    assert low <= result.accuracy <= high
    assert {row["label_name"] for row in rows} == set(TEXTS.values())  # the first of two phrasings
    assert "48 pseudo-label" in result.summary()
    assert "--labels" in result.next_command
    page = result.page.read_text()
    assert page.count("<li class") == 48
    assert HOSTILE not in page


def test_labels_that_are_ignored_are_compared(options, made, tmp_path):
    result = label(replace(options, images=str(made / "images"), ignore_labels=True, out=tmp_path / "L.parquet"))
    assert result.agreement is not None
    rows = rows_of(tmp_path / "L.parquet")
    assert result.agreement[0] == np.mean([row["given"] == row["label"] for row in rows]) >= 47 / 48
    assert "nearest class name alone" in result.summary()
    assert "6 images have no description" in result.summary()


def test_labels_that_are_there_are_kept_without_evidence_against_them(options, made):
    result = label(replace(options, images=str(made / "images")))
    assert result.sources == {"given": 48}
    assert result.accuracy is None
    assert "no evidence of more" in result.summary()


def test_what_a_person_says_counts(options, made, tmp_path):
    shutil.copy(made / "D.db", tmp_path / "D.db")
    key = image_keys([made / "flat" / "bar-001.png"])[0]
    with DescriptionSet(tmp_path / "D.db") as store:
        for said in ("square", "disc"):  # the last word counts
            store.add_label(key, said, "human:anna")
    with DescriptionSet(tmp_path / "other.db", create=True) as other:
        merge_into(other, tmp_path / "D.db")
        merge_into(other, tmp_path / "D.db")
        assert other.labels() == {key: "disc"}
    result = label(replace(options, descriptions=tmp_path / "D.db", suggest=5))
    rows = rows_of(options.out)
    assert {row["key"]: (row["label"], row["source"], row["probability"]) for row in rows}[key] == (
        "disc", "person", "1.0",
    )  # fmt: skip
    assert result.sources["person"] == 1
    assert [row["suggest"] for row in rows[:6]] == ["1", "2", "3", "4", "5", "0"]
    assert key not in {row["key"] for row in rows[:5]}
    with DescriptionSet(tmp_path / "D.db") as store:
        store.add_label(key, "star", "human:anna")
    with pytest.raises(ConfigError, match="label star.*--classes"):
        label(replace(options, descriptions=tmp_path / "D.db"))


def test_what_a_model_says_of_the_classes_stands_beside_their_names(options, made, tmp_path):
    (tmp_path / "poor.csv").write_text("id,name\n" + "".join(f"{name},{name}\n" for name in TEXTS))
    poor = replace(options, images=str(made / "images"), ignore_labels=True, classes=tmp_path / "poor.csv")
    with DescriptionSet(tmp_path / "classes.db", create=True) as store:
        prompt = store.add_prompt(Prompt("class_features", 1, "{class_name}", per_class=True))
        describer = store.add_describer(DescriberInfo("hf:test", "test"))
        for number, (name, text) in enumerate(TEXTS.items()):
            store.add_images([(f"{number:064x}", f"{number}.png", name)])
            store.put([Description(f"{number:064x}", prompt, describer, 0, f"{text} one")])
    rich = label(replace(poor, class_texts=tmp_path / "classes.db"))
    assert rich.agreement[1] > label(poor).agreement[1]  # the nearest class text beside the nearest bare name
    assert rich.agreement[0] > 0.7
    with pytest.raises(ArtifactError, match=r"has no text of.*class_features"):
        label(replace(poor, class_texts=made / "D.db"))


def test_suggestions_do_not_repeat_one_another():
    vectors = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    entropy = np.repeat([0.9, 0.8, 0.7, 0.0], 5)
    chosen = suggest(vectors, entropy, 6)
    assert chosen[:3].tolist() == [0, 5, 10]
    assert len(chosen) == 3  # the label of one tells all of the others
    entropy[0] = 0  # of an image that is labeled, with uncertain ones like it
    assert 0 not in suggest(vectors, entropy, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": None}, "two classes at least; found none.*--classes"),
        ({"out": "labels.txt"}, "must end in .csv or .parquet"),
        ({"label_noise": 1.0}, "--label-noise is 1"),
    ],
)
def test_what_cannot_be_labeled_is_refused(change, message, options):
    with pytest.raises(ConfigError, match=message):
        label(replace(options, **change))


def test_names_that_say_nothing_need_labels(options, tmp_path):
    (tmp_path / "numbers.txt").write_text("0 0\n1 1\n")
    with pytest.raises(ConfigError, match="says nothing.*--classes"):
        label(replace(options, classes=tmp_path / "numbers.txt"))


@pytest.fixture
def training(made, tmp_path):
    """A short training on the images without labels, with labeled validation images."""
    config = small_training("", tmp_path / "run", embeddings=[made / "E"], batch_size=24)
    return replace(config, images=None, train=str(made / "flat"), val=str(made / "images" / "val"))


def test_a_training_takes_the_labels_of_a_table(options, training, tmp_path):
    label(options)
    result = train(replace(training, labels=str(options.out)))
    assert result.metrics["train_accuracy"] > 0
    assert len(result.data.train) == 48
    assert "pseudo-label" not in result.summary()
    rows = rows_of(options.out)
    by_hand = tmp_path / "by-hand.csv"
    by_hand.write_text("image,label\n" + "".join(f"{row['image']},{row['label']}\n" for row in rows[:30]))
    result = train(replace(training, labels=str(by_hand), out=tmp_path / "hand"))
    assert len(result.data.train) == 30
    assert "18 images with neither label" in result.summary()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "it needs key or image, and label or probabilities"),
        ("image,label\nelsewhere.png,disc\n", "has none of the 48 training images"),
        ('key,label,probabilities\nx,disc,"{""disc"": 7}"\n', "from 0 to 1"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(text, message, training, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        train(replace(training, labels=str(tmp_path / "bad.csv")))


def test_a_network_learns_from_text_alone_and_from_labels_later(made, training, tmp_path):
    aligned = train(replace(training, val=None, labels="none"))
    assert "aligned to text alone" in aligned.summary()
    assert not {"val_top1", "train_accuracy"} & aligned.metrics.keys()
    assert aligned.metrics["train_loss"] == pytest.approx(0.2 * aligned.metrics["train_align_loss"])
    tuned = replace(training, images=str(made / "images"), train=None, val=None, embeddings=[], out=tmp_path / "tuned")
    assert "val_top1" in train(replace(tuned, weights=str(training.out))).metrics
    for change, message in (
        ({"embeddings": []}, "learns from text alone"),
        ({"holdout": 0.2}, "evaluates nothing"),
        ({"pseudo_labels": True}, "Leave --pseudo-labels out"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(training, labels="none", **change)
