from __future__ import annotations

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError, ConfigError
from sightwords.images.keys import image_keys
from sightwords.labels.audit import AuditData, score_labels
from sightwords.labels.audit import audit as run
from sightwords.labels.config import AuditConfig
from sightwords.text.config import EmbedConfig
from sightwords.text.embed import embed
from support.aligned_run import TEXTS
from support.images import draw, write_class_folders

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)> a round red stone"


@pytest.fixture(scope="module")
def data(tiny_st, tmp_path_factory):
    """Images with texts of their own; a disc lies among the bars, and its description is hostile."""
    folder = tmp_path_factory.mktemp("audit")
    images = write_class_folders(folder / "images", num_train=12, num_val=2)
    draw("disc", 500).save(images / "train" / "bar" / "strange.png")
    with pytest.MonkeyPatch.context() as patch, DescriptionSet(folder / "D.db", create=True) as store:
        patch.setenv("SIGHTWORDS_CACHE", str(tmp_path_factory.mktemp("cache")))
        prompt = store.add_prompt(Prompt("plain", 1, "Describe."))
        describer = store.add_describer(DescriberInfo("hf:test", "test"))
        files = sorted((images / "train").rglob("*.png"))
        words = ["one", "two", "three", "four", "small", "large", "near", "under", "over", "short", "with", "of"]
        for file, key in zip(files, image_keys(files), strict=True):
            text = HOSTILE if file.name == "strange.png" else f"{TEXTS[file.parent.name]} {words[int(file.stem)]}"
            store.put([Description(key, prompt, describer, 0, text)])
    embed(EmbedConfig(folder / "D.db", out=folder / "E", encoder=f"st:{tiny_st}", device="cpu", precision="fp32"))
    return images, folder / "D.db", folder / "E"


def config_of(data, out):
    images, descriptions, embeddings = data
    return AuditConfig(str(images), descriptions, embeddings=embeddings, out=out, folds=5, workers=0, device="cpu",
                       top=12)  # fmt: skip


@pytest.fixture
def options(data, tmp_path):
    return config_of(data, tmp_path / "audit")


@pytest.fixture(scope="module")
def audited(data, tmp_path_factory):
    """Result, table and page of an audit."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTWORDS_CACHE", str(folder / "cache"))
        result = run(config_of(data, folder))
    rows = list(csv.DictReader((folder / "audit.csv").open(encoding="utf-8")))
    return result, rows, (folder / "audit.html").read_text(encoding="utf-8")


def test_the_wrong_label_comes_first_in_table_and_summary(audited):
    result, rows, _ = audited
    assert len(rows) == result.num_images == 37
    place = [row["image"] for row in rows].index("train/bar/strange.png")
    assert place < 3
    found = rows[place]
    assert (found["label"], found["suggested"], found["description"]) == ("bar", "disc", HOSTILE)
    assert [int(row["rank"]) for row in rows] == list(range(1, 38))
    suspicion = [float(row["suspicion"]) for row in rows]
    assert suspicion == sorted(suspicion, reverse=True)
    assert "strange.png: bar, rather disc" in result.summary()
    assert len(result.notes) == 1
    assert "6 labeled images have no description" in result.notes[0]


def test_hostile_text_is_text_on_the_page(audited):
    page = audited[2]
    assert page.count("data:image/jpeg;base64,") == 12
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;document.title=&#39;owned&#39;&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_readable_class_names_are_shown_beside_the_ids(options, data, tmp_path):
    images, _, _ = data
    ids = {"disc": "n02979186", "bar": "n03888257", "square": "n03445777"}
    renamed = tmp_path / "imagenet"
    shutil.copytree(images, renamed)
    for folder in [path for split in ("train", "val") for path in (renamed / split).iterdir()]:
        folder.rename(folder.with_name(ids.get(folder.name, folder.name)))
    result = run(replace(options, images=str(renamed)))
    row = next(csv.DictReader((options.out / "audit.csv").open(encoding="utf-8")))
    assert "strange.png: parachute, chute, rather cassette player" in result.summary()
    assert {row["label"], row["label_name"]} <= {*ids.values(), "parachute, chute", "cassette player", "golf ball"}
    page = (options.out / "audit.html").read_text(encoding="utf-8")
    assert ">cassette player<" in page
    assert ">n02979186<" not in page


def test_a_run_adds_the_probability_by_image_features(options, aligned):
    run(replace(options, run=aligned.run))
    rows = list(csv.DictReader((options.out / "audit.csv").open(encoding="utf-8")))
    assert all(0 <= float(row["image_probability"]) <= 1 for row in rows)
    assert "image probability" in (options.out / "audit.html").read_text()


def test_a_prompt_that_contains_the_label_is_named(options, tmp_path):
    shutil.copytree(options.embeddings, tmp_path / "E")
    meta = tmp_path / "E" / "meta.json"
    meta.write_text(meta.read_text().replace('"Describe."', '"This is a {class_name}. Describe it."'))
    result = run(replace(options, embeddings=tmp_path / "E"))
    assert any("prompt plain contains the label" in note for note in result.notes)


def test_what_does_not_fit_is_refused_and_nothing_is_written(options, tmp_path):
    other = write_class_folders(tmp_path / "other", num_train=2, num_val=1, size=40)
    with pytest.raises(ArtifactError, match="None of 9 labeled images has a description"):
        run(replace(options, images=str(other)))
    (tmp_path / "several.csv").write_text(f"image,label\n{options.images}/train/bar/000.png,bar|disc\n")
    with pytest.raises(ConfigError, match="one label per image"):
        run(replace(options, images=None, train=str(tmp_path / "several.csv")))
    with pytest.raises(ConfigError, match="--folds is 1"):
        replace(options, folds=1)
    assert not options.out.exists()


def clustered(num_per_class):
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), num_per_class)
    vectors = random.standard_normal((4, 12))[labels] + 0.5 * random.standard_normal((len(labels), 12))
    return AuditData({}, list("abcd"), list("abcd"), labels, vectors.astype(np.float32), np.arange(len(labels)))


@pytest.fixture
def clusters():
    return clustered(30)


def test_no_score_depends_on_the_images_own_label():
    data, num_folds, image = clustered(3), 12, 4  # so relabeling one image leaves its fold's others alone
    before = score_labels(data, num_folds, show=False)
    for name in ("similarity", "text"):
        labels, other = data.labels.copy(), getattr(before, name).other
        labels[image] = other[image]
        after = score_labels(replace(data, labels=labels), num_folds, show=False)
        assert getattr(after, name).own[image] == pytest.approx(getattr(before, name).best[image], rel=1e-4)


def test_swapped_labels_come_first(clusters):
    wrong, labels = np.random.default_rng(1).choice(120, 6, replace=False), clusters.labels.copy()
    labels[wrong] = (labels[wrong] + 1) % 4
    scores = score_labels(replace(clusters, labels=labels), show=False)
    assert set(np.argsort(-scores.suspicion)[:8].tolist()) >= set(wrong.tolist())
    assert (scores.suggested[wrong] == clusters.labels[wrong]).all()
    assert scores.is_suspect[wrong].mean() > 0.5
    assert scores.is_suspect[np.setdiff1d(np.arange(120), wrong)].mean() < 0.05
    agreed = (scores.similarity.other == scores.text.other) & (scores.similarity.margin < 0)
    assert agreed[scores.is_suspect].all()


def test_a_class_that_is_all_in_one_fold_is_not_an_error(clusters):
    labels = np.where(clusters.labels == 3, 0, clusters.labels)
    labels[5] = 3
    similarity = score_labels(replace(clusters, labels=labels), show=False).similarity
    assert np.isfinite(similarity.margin).all()
    assert similarity.own[5] == -1


def test_image_features_count_too_and_unread_images_stay_in_the_middle(clusters):
    features = clusters.vectors[:, ::-1].copy()
    features[7] = np.nan
    noise = np.random.default_rng(2).standard_normal(features.shape).astype(np.float32)
    scores = score_labels(replace(clusters, vectors=noise, features=features), show=False)
    assert scores.image is not None
    assert (scores.image.margin > 0).mean() > 0.85
    assert scores.image.margin[7] == 0
    assert np.isfinite(scores.suspicion).all()
