"""What an audit leaves: a table of all images, and a page of the most suspicious ones."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from sightwords.data.thumbnail import thumbnail_uri
from sightwords.files import atomic_path
from sightwords.gallery import Card, write_gallery
from sightwords.stages.audit.evidence import Evidence
from sightwords.stages.audit.findings import Findings

COLUMNS = (
    "rank", "suspicion", "is_suspect", "split", "image", "label", "suggested", "text_agreement", "text_probability",
    "image_probability", "description", "key",
)  # fmt: skip
NOTES = (
    "The most suspicious labels come first: suspicion is the mean of the ranks that the witnesses give, 1 at most. No "
    "witness has seen the image that it judges, nor another one with the same text.",
    "Text agreement: cosine of the description with the mean description of its label's class, less that with the best "
    "other class. Text probability and image probability: what linear classifiers of the text vectors and of the image "
    "features give the label.",
)


def write_csv(path: Path, evidence: Evidence, findings: Findings, texts: Sequence[str]) -> None:
    """Write a row for every image, the most suspicious first."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, position in enumerate(findings.ranking.order().tolist()):
            writer.writerow(_row(number + 1, position, evidence, findings, texts))


def write_page(
    path: Path,
    title: str,
    facts: Sequence[tuple[str, str]],
    evidence: Evidence,
    findings: Findings,
    texts: Sequence[str],
    count: int,
    notes: Sequence[str] = (),
) -> None:
    """Write the page that shows the `count` most suspicious images."""
    order = findings.ranking.order()[:count].tolist()
    cards = [_card(number + 1, position, evidence, findings, texts) for number, position in enumerate(order)]
    write_gallery(path, title, facts, cards, (*NOTES, *notes))


def suggestion(position: int, evidence: Evidence, findings: Findings) -> str:
    """Return the class id that fits an image better than its label, empty where none does."""
    found = int(findings.ranking.suggested[position])
    return evidence.class_ids[found] if found >= 0 else ""


def _row(rank: int, position: int, evidence: Evidence, findings: Findings, texts: Sequence[str]) -> list[object]:
    split, member, key = evidence.place(position)
    ranking, image = findings.ranking, findings.image
    return [
        rank,
        f"{ranking.suspicion[position]:.5f}",
        int(ranking.is_suspect[position]),
        split,
        member.name,
        evidence.class_ids[evidence.labels[position]],
        suggestion(position, evidence, findings),
        f"{findings.agreement.margin[position]:.4f}",
        f"{findings.text.own[position]:.4f}",
        "" if image is None else f"{image.own[position]:.4f}",
        texts[position],
        key,
    ]


def _card(rank: int, position: int, evidence: Evidence, findings: Findings, texts: Sequence[str]) -> Card:
    _, member, _ = evidence.place(position)
    facts = [
        ("suspicion", f"{findings.ranking.suspicion[position]:.3f}"),
        ("text agreement", f"{findings.agreement.margin[position]:+.2f}".replace("-", "\u2212")),
        ("text probability", f"{findings.text.own[position]:.1%}"),
    ]
    if findings.image is not None:
        facts.append(("image probability", f"{findings.image.own[position]:.1%}"))
    label = evidence.class_ids[evidence.labels[position]]
    other = suggestion(position, evidence, findings)
    return Card(thumbnail_uri(member), str(rank), label, other, texts[position], facts, member.name)
