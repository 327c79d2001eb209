"""Every objective written out with loops over Python numbers, to compare with."""

from __future__ import annotations

import math

Rows = list[list[float]]


def reference_loss(
    name: str,
    images: Rows,
    texts: Rows,
    temperature: float,
    *,
    weight: list[float] | None = None,
    label: list[int] | Rows | None = None,
    class_texts: Rows | None = None,
    overlap: Rows | None = None,
) -> float:
    """The weighted mean of an objective over a batch; `overlap` of the rows is the identity if None."""
    weight = [1.0] * len(images) if weight is None else weight
    present = [i for i, w in enumerate(weight) if w > 0]
    if name == "centered_clip":
        mean = [math.fsum(weight[i] * texts[i][d] for i in present) / sum(weight) for d in range(len(texts[0]))]
        texts = [[x - m for x, m in zip(row, mean, strict=True)] for row in texts]
    if name not in ("centered_clip", "mse", "tokens"):
        images = [_unit(row) for row in images]
    if name not in ("centered_clip", "tokens"):
        texts = [_unit(row) for row in texts]
    if overlap is None:
        overlap = [[float(i == j) for j in range(len(images))] for i in range(len(images))]
    if label is not None and not isinstance(label[0], list):
        label = [[float(k == own) for k in range(max(label) + 1)] for own in label]

    def row(i: int) -> float:
        image, text = images[i], texts[i]
        if name == "cosine":
            return 2 - 2 * _dot(image, text)
        if name == "mse":
            return math.fsum((a - b) ** 2 for a, b in zip(image, text, strict=True))
        if name == "tokens":
            return math.fsum(t / sum(text) * (_log_sum_exp(image) - z) for z, t in zip(image, text, strict=True))
        if name == "relational":
            others = [j for j in present if j != i]
            squares = [(_dot(image, images[j]) - _dot(text, texts[j])) ** 2 for j in others]
            return math.fsum(squares) / max(1, len(others))
        if name == "class_mean":
            logits = [_dot(image, _unit(one)) / temperature for one in class_texts]
            return _log_sum_exp(logits) * sum(label[i]) - _dot(label[i], logits)
        to_text = {j: _dot(image, texts[j]) / temperature for j in present}
        if name == "sigmoid":
            together = {j: min(1.0, overlap[i][j] / overlap[i][i]) for j in present}
            return math.fsum(math.log1p(math.exp(x - 10)) - together[j] * (x - 10) for j, x in to_text.items())
        to_image = {j: _dot(text, images[j]) / temperature for j in present}
        found = {j: target(i, j) for j in present}
        halves = [to_text] if name == "contrastive" else [to_text, to_image]
        parts = [math.fsum(q * (_log_sum_exp(half.values()) - half[j]) for j, q in found.items()) for half in halves]
        return sum(parts) / len(parts) / sum(found.values())

    def target(i: int, j: int) -> float:
        """How much texts j are a positive of image i, up to a factor."""
        same_class = _dot(label[i], label[j]) if "label" in name else 1.0
        cosine, together = _dot(texts[i], texts[j]), min(1.0, overlap[i][j] / overlap[i][i])
        similar = math.exp((max(cosine, together) if together else cosine) / 0.1) if "soft" in name else 1.0
        return same_class * similar if "label" in name or "soft" in name else overlap[i][j]

    return sum(weight[i] * row(i) for i in present) / sum(weight)


def _log_sum_exp(values) -> float:
    values = list(values)
    return max(values) + math.log(math.fsum(math.exp(x - max(values)) for x in values))


def _unit(row: list[float]) -> list[float]:
    length = math.sqrt(_dot(row, row))
    return [x / length for x in row]


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))
