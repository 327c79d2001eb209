"""From a row of an embedding set back to the words that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sightwords.artifacts.description_set import DescriptionSet
from sightwords.artifacts.embedding_set import EmbeddingSet
from sightwords.errors import ArtifactError

_Place = tuple[str, str, str, int]  # key, prompt, describer, sample


@dataclass(frozen=True)
class RowText:
    """A description, and the image that it describes; of several images with one text, one of them.

    Attributes:
        text: the description.
        name: the image's name.
        class_name: readable name of its class.
    """

    text: str
    name: str
    class_name: str


class TextsOfRows:
    """Looks up the texts of an embedding set's rows in the description set that it was made of.

    Args:
        embeddings: the embedding set.
        descriptions: the description set; None takes the one that the embedding set names.

    Raises:
        ArtifactError: there is none at that place.
    """

    def __init__(self, embeddings: EmbeddingSet, descriptions: Path | None) -> None:
        named = embeddings.meta.get("descriptions")
        if descriptions is None and named is None:
            raise ArtifactError(f"{embeddings.folder} does not say what it was made of. Give --descriptions D.db.")
        self.path = descriptions or Path(str(named))
        if not self.path.is_file():
            raise ArtifactError(f"There is no description set at {self.path}. Name it with --descriptions D.db.")
        self._embeddings, self._index = embeddings, embeddings.index()

    def find(self, rows: Sequence[int]) -> dict[int, RowText]:
        """Return the text of each row.

        Raises:
            ArtifactError: a row's text is not in the description set.
        """
        wanted = self._index.filter(pc.is_in(self._index["row"], value_set=pa.array(rows, pa.int64())))
        first = {one["row"]: one for one in reversed(wanted.to_pylist())}  # thousands of images may share a text
        places = {(i["key"], i["prompt"], i["describer"], i["sample"]): row for row, i in first.items()}
        found: dict[int, RowText] = {}
        for place, text in self._texts({key for key, *_ in places}):
            if place in places:
                found.setdefault(places[place], text)
        if missing := set(rows) - found.keys():
            raise ArtifactError(
                f"{self.path} lacks the texts of {len(missing)} of {len(rows)} vectors of {self._embeddings.folder}. "
                "Name the description set that it was made of with --descriptions."
            )
        return found

    def _texts(self, keys: set[str]) -> Iterator[tuple[_Place, RowText]]:
        listed = ", ".join(f"'{key}'" for key in sorted(keys))
        with DescriptionSet(self.path) as store:
            images = store.images()
            for one in store.select(f"key IN ({listed})"):
                name, class_name = images.get(one.key, (one.key[:12], ""))
                yield (one.key, one.prompt, one.describer, one.sample), RowText(one.text, name, class_name)
