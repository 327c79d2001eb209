"""Wrong labels are found and outweighed, missing ones predicted, and what the texts cannot know stays as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc
import pytest

from sightwords.errors import ArtifactError, ConfigError, DataError
from sightwords.images.config import ImagesConfig
from sightwords.images.dataset import Split, open_dataset
from sightwords.images.keys import image_key
from sightwords.images.references import ImageReference
from sightwords.images.subset import make_subset
from sightwords.labels.pseudo_labels import FILE, LabelTargets, infer_labels
from sightwords.text.embedding_set import EmbeddingSet
from sightwords.training.run import train as run
from support.images import write_class_folders
from support.texts import write_vectors
from support.trainings import small_training

NUM_CLASSES = 5


@pytest.fixture
def right():
    """400 images with right labels."""
    keys = [f"{number:064x}" for number in range(400)]
    members = [ImageReference("", f"{number}.png") for number in range(400)]
    return Split.of(members, keys, [[number % NUM_CLASSES] for number in range(400)])


@pytest.fixture
def texts(right, tmp_path):
    """Vectors by the true classes, two an image; the first 20 images have none."""
    return EmbeddingSet(write_vectors(tmp_path / "E", right, leave_out=20, per_image=2))


def corrected(images, texts, rate=None, num_classes=NUM_CLASSES):
    rows = texts.rows_of(images.keys())
    found = infer_labels(images.first_labels(), num_classes, texts, rows, label_noise=rate, show=False).targets
    return found, found(np.arange(len(images))).numpy()


@pytest.mark.parametrize("rate", [None, 0.4])
def test_wrong_labels_are_outweighed(rate, right, texts):
    wrong = make_subset(right, NUM_CLASSES, label_noise=0.4)
    true, given = right.first_labels(), wrong.first_labels()
    found, targets = corrected(wrong, texts, rate)
    assert found.label_noise == pytest.approx((true != given).mean(), abs=0.05)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    assert (targets.argmax(1) == true)[20:].mean() > 0.93
    assert (targets[:20] == np.eye(NUM_CLASSES)[given[:20]]).all()  # without a description


def test_right_labels_stay_exactly(right, texts):
    found, targets = corrected(right, texts)
    assert found.label_noise == 0
    assert (targets == np.eye(NUM_CLASSES)[right.first_labels()]).all()


def unrelated(images, folder, rows):
    """Random vectors, those at `rows` for the images."""
    vectors = np.random.default_rng(0).normal(size=(max(rows) + 1, 8))
    columns = {"prompt": ["p"] * 400, "describer": ["d"] * 400, "sample": [0] * 400, "row": rows}
    return EmbeddingSet.write(folder, vectors, vectors.mean(0), {"key": images.keys(), **columns}, {})


@pytest.mark.parametrize("kind", ["the label's name", "strangers' texts"])
def test_texts_that_cannot_know_change_nothing(kind, right, tmp_path):
    wrong = make_subset(right, NUM_CLASSES, label_noise=0.4)
    labels = wrong.first_labels()
    found, targets = corrected(wrong, unrelated(right, tmp_path / "E", labels if "name" in kind else range(400)))
    assert found.label_noise == 0
    assert (targets == np.eye(NUM_CLASSES)[labels]).all()


def test_a_class_of_one_image_keeps_its_label(right, tmp_path):
    labels = right.first_labels().copy()
    labels[100] = NUM_CLASSES
    images = make_subset(right, NUM_CLASSES, label_noise=0.4).first_labels()
    images[100] = NUM_CLASSES
    texts = EmbeddingSet(write_vectors(tmp_path / "E", right.relabeled(labels)))
    _, targets = corrected(right.relabeled(images), texts, 0.4, NUM_CLASSES + 1)
    assert (targets[:100].max(1) < 1).all()
    assert targets[100, NUM_CLASSES] == 1


@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_missing_labels_are_predicted_from_the_texts(noise, right, texts):
    given = make_subset(right.subset(range(20, 400)), NUM_CLASSES, label_noise=noise, label_fraction=0.25)
    true, known = right.first_labels()[20:], given.first_labels() >= 0
    found, targets = corrected(given, texts, rate=None if noise else 0.0)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-5)
    assert (targets.argmax(1) == true)[~known].mean() > (0.75 if noise else 0.97)
    if not noise:
        assert (targets[known] == np.eye(NUM_CLASSES)[true[known]]).all()  # labels that are there are trusted
        assert found.label_noise == 0


def test_texts_that_know_nothing_predict_no_class(right, tmp_path):
    given = make_subset(right, NUM_CLASSES, label_fraction=0.25)
    _, targets = corrected(given, unrelated(right, tmp_path / "E", range(400)), rate=0.0)
    assert targets[given.first_labels() < 0].max(1).mean() < 0.4  # of five classes: hardly more than chance


@pytest.fixture
def wide(right, tmp_path):
    """Vectors as text encoders have them, of many dimensions; the first 20 images have none."""
    return EmbeddingSet(write_vectors(tmp_path / "wide", right, dimension=64, leave_out=20))


@pytest.fixture
def names(right, wide):
    """Vectors near those of the classes, as class names have them."""
    means = [wide.vectors[wide.rows_of(right.subset(np.flatnonzero(right.first_labels() == k)).keys()).rows].mean(0)
             for k in range(NUM_CLASSES)]  # fmt: skip
    noisy = np.array(means, np.float32) + 0.1 * np.random.default_rng(1).normal(size=(NUM_CLASSES, 64))
    return (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)


def inferred(labels, texts, right, names, **options):
    rows = texts.rows_of(right.keys())
    found = infer_labels(labels, len(names), texts, rows, names, show=False, **options)
    return found, found.targets.classes[20:, 0]


def test_names_alone_label_and_their_accuracy_is_foreseen(right, wide, names):
    found, best = inferred(np.full(400, -1), wide, right, names)
    accuracy = (best == right.first_labels()[20:]).mean()
    assert accuracy > 0.95
    assert found.accuracy == pytest.approx(accuracy, abs=0.04)
    assert found.interval[0] < accuracy <= found.interval[1]
    assert found.num_inferred == 380


def test_a_few_labels_tell_that_names_are_of_no_use(right, wide, names):
    true = right.first_labels()
    labels = np.full(400, -1)
    labels[20:80] = true[20:80]
    _, best = inferred(labels, wide, right, np.roll(names, 1, axis=0))
    assert (best == true[20:]).mean() > 0.9
    _, astray = inferred(np.full(400, -1), wide, right, np.roll(names, 1, axis=0))
    assert (astray == true[20:]).mean() < 0.2  # without labels, nothing speaks against the names


def test_a_label_does_not_vouch_for_itself(right, tmp_path):
    """Vectors of so many dimensions that a model knows by heart the label of each image that it was fitted to."""
    random = np.random.default_rng(0)
    true = right.first_labels()
    vectors = random.normal(size=(NUM_CLASSES, 2048))[true] + 1.5 * random.normal(size=(400, 2048))
    columns = {"prompt": ["p"] * 400, "describer": ["d"] * 400, "sample": [0] * 400, "row": range(400)}
    texts = EmbeddingSet.write(tmp_path / "E", vectors, vectors.mean(0), {"key": right.keys(), **columns}, {})
    found, targets = corrected(make_subset(right, NUM_CLASSES, label_noise=0.4), texts)
    assert found.label_noise == pytest.approx(0.4, abs=0.1)
    assert (targets.argmax(1) == true).mean() > 0.9


def test_mistakes_between_two_classes_are_seen(right, wide):
    true = right.first_labels()
    mistaken = np.where(
        (true == 0) & (np.arange(400) // 5 % 5 < 2), 1, true
    )  # two fifths of a class are taken for another
    found, best = inferred(mistaken, wide, right, np.eye(NUM_CLASSES, 64, dtype=np.float32))
    assert (best == true[20:]).mean() > 0.95
    assert found.targets.label_noise == pytest.approx((mistaken != true).mean(), abs=0.05)


def test_images_of_none_of_the_classes_are_said_to_be_of_none(right, wide, names):
    true = right.first_labels()[20:]
    _, best = inferred(np.full(400, -1), wide, right, names[:-1], other=True)
    assert (best == NUM_CLASSES - 1)[true == NUM_CLASSES - 1].mean() > 0.9
    assert (best == true)[true < NUM_CLASSES - 1].mean() > 0.9


def test_without_labels_of_described_images_there_is_nothing_to_learn_from(right, texts):
    only_undescribed = right.relabeled(np.where(np.arange(400) < 20, 0, -1))
    with pytest.raises(DataError, match="both a label and a description"):
        corrected(only_undescribed, texts, rate=0.0)


def test_the_file_gives_back_what_was_saved(tmp_path):
    path = tmp_path / "run" / FILE
    LabelTargets(np.array([[1, 0]], np.int32), np.array([[0.75, 0.25]], np.float32), 3, 0.5).save(path)
    found = LabelTargets.load(path)
    assert found(np.array([0, 0])).tolist() == [[0.25, 0.75, 0.0]] * 2
    assert (found.num_classes, found.label_noise) == (3, 0.5)
    path.write_bytes(b"PK\3\4")
    with pytest.raises(ArtifactError, match="is damaged .* Delete it"):
        LabelTargets.load(path)


@pytest.fixture
def config(tmp_path):
    """A short training on images of three classes, 40 each, whose texts know them; a part of the labels is wrong."""
    images = str(write_class_folders(tmp_path / "images", num_train=40, num_val=2))
    train_set = open_dataset(ImagesConfig(images), show=False).split("train")
    return small_training(
        images, tmp_path / "run", embeddings=[write_vectors(tmp_path / "E", train_set)], batch_size=24,
        label_noise=0.4, label_noise_correction=0.4,
    )  # fmt: skip


def test_a_training_says_what_was_found_learns_from_it_and_reads_it_when_resumed(config, monkeypatch):
    texts = EmbeddingSet(config.embeddings[0])
    prompt = {"name": "own", "version": 1, "template": "This shows a {class_name}."}
    meta = {**texts.meta, "prompt_texts": [prompt]}
    EmbeddingSet.write(texts.folder, np.array(texts.vectors), texts.mean, texts.index(), meta)
    result = run(config)
    assert "About 40.0% of the labels are wrong" in result.summary()
    assert "The prompt own contains the label" in result.summary()
    plain = run(replace(config, label_noise_correction=0, out=config.out.parent / "plain"))
    assert plain.label_noise is None
    assert plain.warnings == []
    assert not (plain.out / FILE).exists()
    assert result.metrics["train_classification_loss"] != plain.metrics["train_classification_loss"]
    monkeypatch.setattr("sightwords.training.run.infer_labels", lambda *args, **options: pytest.fail("corrected again"))
    assert run(replace(config, resume=True)).label_noise == result.label_noise


def test_several_labels_are_refused(config, tmp_path):
    table = tmp_path / "train.csv"
    names = sorted(path.relative_to(tmp_path) for path in (tmp_path / "images" / "train").rglob("*.png"))
    table.write_text("image,label\n" + "".join(f"{name},{'a|b' if i % 2 else 'c'}\n" for i, name in enumerate(names)))
    with pytest.raises(ConfigError, match="--label-noise-correction needs one label per image"):
        run(replace(config, images=None, train=str(table), val=str(table), label_noise=0.0))


def test_images_without_labels_are_used_if_that_is_wanted(config, tmp_path, monkeypatch):
    """A table whose label cells are empty for half of the training images; one of those has no description either."""
    names = sorted((tmp_path / "images" / "train").rglob("*.png"))
    cells = [path.parent.name if number % 2 else "" for number, path in enumerate(names)]
    table = tmp_path / "train.csv"
    table.write_text("image,label\n" + "".join(f"{path},{cell}\n" for path, cell in zip(names, cells, strict=True)))
    texts = EmbeddingSet(config.embeddings[0])
    index = texts.index()
    index = index.filter(pc.not_equal(index["key"], image_key(names[0].read_bytes())))
    EmbeddingSet.write(config.embeddings[0], np.array(texts.vectors), texts.mean, index, texts.meta)
    config = replace(
        config, images=None, train=str(table), val=str(tmp_path / "images" / "val"), label_noise=0.0,
        label_noise_correction=0, batch_size=20, holdout=0.2,
    )  # fmt: skip
    with pytest.raises(DataError, match="60 train images have no label.*--pseudo-labels"):
        run(config)
    reads, rows_of = [], EmbeddingSet.rows_of
    monkeypatch.setattr(EmbeddingSet, "rows_of", lambda self, keys: reads.append(self) or rows_of(self, keys))
    result = run(replace(config, pseudo_labels=True))
    assert len(reads) == 1  # the index, for text, pseudo-labels and what is left out alike
    assert "59 of 107 training images have no label" in result.summary()
    assert "1 images with neither label nor description were left out" in result.summary()
    assert result.label_noise is None
    assert len(np.load(config.out / FILE)["classes"]) == 107
    baseline = run(replace(config, pseudo_labels=True, embeddings=[], out=tmp_path / "baseline"))
    assert "60 images with neither label nor description were left out" in baseline.summary()
    assert len(baseline.data.train) == 48


def test_validation_needs_labels(config, tmp_path):
    table = tmp_path / "val.csv"
    table.write_text("image,label\n" + "".join(f"{path},\n" for path in (tmp_path / "images" / "val").rglob("*.png")))
    with pytest.raises(DataError, match=r"6 val images have no label\. Put them .* or give a table\.$"):
        run(replace(config, images=None, train=f"{tmp_path}/images/train", val=str(table), pseudo_labels=True))
