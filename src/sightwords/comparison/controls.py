"""The text of the controls: sets of vectors that lack one thing that the descriptions have."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa

import sightwords
from sightwords.comparison.arms import CONTROLS
from sightwords.descriptions.schema import DescriberInfo, Description, Prompt
from sightwords.descriptions.store import DescriptionSet
from sightwords.images.dataset import Split
from sightwords.images.seeds import derive_seed, generator
from sightwords.text.embedding_set import EmbeddingSet

WORDS_ENCODER = "builtin:words"


def control_text(arm: str, sources: list[Path], images: Split, class_names: list[str], folder: Path) -> list[Path]:
    """Make the embedding sets of an arm's text, unless they are there, and return their folders.

    Args:
        arm: `baseline` (none), a control, or anything else: the sources themselves.
        sources: embedding sets of the descriptions.
        images: training images, with the labels that the network is trained with.
        class_names: readable names, by class index.
        folder: where the sets go.
    """
    if arm == "baseline":
        return []
    if arm not in CONTROLS:
        return sources
    made = [folder / f"{arm}-{number}" for number in range(len(sources))]
    for path, out in zip(sources, made, strict=True):
        if out.exists():
            continue
        source = EmbeddingSet(path)
        if arm == "shuffled":
            _write_moved(source, images, np.zeros(len(images), np.int64), out)
        elif arm == "shuffled_within_class":
            _write_moved(source, images, images.first_labels(), out)
        elif arm == "random_vectors":
            _write_random(source, out)
        else:
            _write_class_names(source, images, class_names, out)
    return made


def _write_random(source: EmbeddingSet, out: Path) -> None:
    """Replace every distinct text's vector by a random one of unit length."""
    vectors = generator("random vectors", source.meta["fingerprint"]).standard_normal(source.vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = source.index()
    EmbeddingSet.write(out, vectors, vectors[table["row"].to_numpy()].mean(0), table, _meta(source, "random_vectors"))


def _write_class_names(source: EmbeddingSet, images: Split, class_names: list[str], out: Path) -> None:
    """Embed the names of each training image's classes, by the encoder of the source.

    Counted words have nothing to count in names that share none, so there each class is a word of its own.
    """
    if str(source.meta["encoder"]).startswith(WORDS_ENCODER):
        _write_class_words(source, images, len(class_names), out)
        return
    database = out.with_suffix(".db")
    database.unlink(missing_ok=True)
    with DescriptionSet(database, create=True) as descriptions:
        prompt = descriptions.add_prompt(Prompt("class_name", 1, "The label's name as the only text."))
        describer = descriptions.add_describer(DescriberInfo("class_name", "class_name"))
        descriptions.add_images((images.key(i), images.reference(i).name, "") for i in range(len(images)))
        descriptions.put(
            Description(images.key(i), prompt, describer, 0, ", ".join(class_names[c] for c in images.labels(i)))
            for i in images.distinct_indices().tolist()
            if len(images.labels(i))
        )
    sightwords.embed(sightwords.EmbedConfig(database, encoder=source.meta["encoder"], out=out))


def _write_class_words(source: EmbeddingSet, images: Split, num_classes: int, out: Path) -> None:
    places = [(images.key(i), int(label)) for i in images.distinct_indices().tolist() for label in images.labels(i)]
    count = len(places)
    rows = [row for _, row in places]
    columns = {"key": [key for key, _ in places], "row": rows, "sample": [0] * count}
    names = {"prompt": ["class_name"] * count, "describer": ["class_name"] * count}
    vectors = np.eye(num_classes, dtype=np.float32)
    EmbeddingSet.write(out, vectors, vectors[rows].mean(0), {**columns, **names}, _meta(source, "class_name"))


def _write_moved(source: EmbeddingSet, images: Split, groups: np.ndarray, out: Path) -> None:
    """Write the source with the texts of training images moved on within each group, one place along a random circle.

    So no image keeps its own text, as it may under a random permutation, unless it is alone in its group.
    """
    table = source.index()
    described = set(table["key"].to_pylist())
    keyed = [(int(groups[index]), images.key(index)) for index in images.distinct_indices().tolist()]
    order = sorted((group, derive_seed("shuffled", group, key), key) for group, key in keyed if key in described)
    receiver: dict[str, str] = {}
    for _, members in groupby(order, key=itemgetter(0)):
        circle = [key for _, _, key in members]
        receiver.update(zip(circle, circle[1:] + circle[:1], strict=True))
    moved = pa.array([receiver.get(key, key) for key in table["key"].to_pylist()], pa.string())
    table = table.set_column(table.schema.get_field_index("key"), table.schema.field("key"), moved)
    EmbeddingSet.write(out, np.asarray(source.vectors), source.mean, table, _meta(source, out.name))


def _meta(source: EmbeddingSet, control: str) -> dict[str, object]:
    return {**source.meta, "control": control}
