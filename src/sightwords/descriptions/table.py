"""A description set as a flat table, for Parquet, JSONL and CSV: prompt and describer are spelled out in every row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sightwords.descriptions.schema import Status
from sightwords.descriptions.store import DescriptionSet
from sightwords.errors import ArtifactError
from sightwords.files import atomic_path


def export_rows(descriptions: DescriptionSet, status: Status | None = None) -> Iterator[dict[str, Any]]:
    """Yield the attempts that count as flat records; None yields every status."""
    prompts, describers, images = descriptions.prompts(), descriptions.describers(), descriptions.images()
    for row in descriptions.descriptions(status):
        prompt, describer = prompts[row.prompt], describers[row.describer]
        name, class_name = images.get(row.key, ("", ""))
        yield {
            "key": row.key, "name": name, "class_name": class_name, "prompt": prompt.name,
            "prompt_version": prompt.version, "prompt_template": prompt.template, "describer": describer.identifier,
            "model": describer.model, "revision": describer.revision,
            "parameters": json.dumps(dict(describer.parameters), sort_keys=True), "sample": row.sample,
            "text": row.text, "raw_text": row.raw_text, "status": row.status, "reason": row.reason,
            "num_prompt_tokens": row.num_prompt_tokens, "num_text_tokens": row.num_text_tokens,
            "seconds": row.seconds, "clip_score": row.clip_score, "created_at": row.created_at,
        }  # fmt: skip


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write records to `path` as its ending says: .parquet, .jsonl or .csv.

    Raises:
        ArtifactError: the ending is none of these.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    with atomic_path(path) as temporary:
        match path.suffix.lower():
            case ".jsonl":
                lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                temporary.write_text("".join(lines), encoding="utf-8")
            case ".parquet":
                pyarrow.parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows]), temporary)
            case ".csv":
                pyarrow.csv.write_csv(pa.Table.from_pylist([dict(row) for row in rows]), temporary)
            case ending:
                raise ArtifactError(f"Cannot export to {ending!r}. Allowed endings: .parquet, .jsonl, .csv.")
