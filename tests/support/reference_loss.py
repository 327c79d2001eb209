"""Every objective written out with loops over Python numbers, to compare with."""

from __future__ import annotations

import math

Rows = list[list[float]]


def reference_loss(
    name: str,
    images: Rows,
    texts: Rows,
    temperature: float,
    weight: list[float] | None = None,
    label: list[int] | Rows | None = None,
    class_texts: Rows | None = None,
    overlap: Rows | None = None,
) -> float:
    """The weighted mean of an objective over a batch; `overlap` is that of the sources, the identity if None."""
    weight = [1.0] * len(images) if weight is None else weight
    present = [i for i, w in enumerate(weight) if w > 0]
    if name == "centered_clip":
        mean = [math.fsum(weight[i] * texts[i][d] for i in present) / sum(weight) for d in range(len(texts[0]))]
        texts = [[x - m for x, m in zip(row, mean, strict=True)] for row in texts]
    elif name not in ("mse", "tokens"):
        images, texts = [_unit(row) for row in images], [_unit(row) for row in texts]
    else:
        texts = [_unit(row) for row in texts] if name == "mse" else texts
    overlap = [[float(i == j) for j in range(len(images))] for i in range(len(images))] if overlap is None else overlap
    shares = _shares(label)
    total = 0.0
    for i in present:
        row = _row(name, i, images, texts, temperature, present, shares, class_texts, overlap)
        total += weight[i] * row
    return total / sum(weight)


def _row(name, i, images, texts, temperature, present, shares, class_texts, overlap) -> float:
    if name == "cosine":
        return 2 - 2 * _dot(images[i], texts[i])
    if name == "mse":
        return math.fsum((a - b) ** 2 for a, b in zip(images[i], texts[i], strict=True))
    if name == "tokens":
        log_total = _log_sum_exp(images[i])
        return -math.fsum(t / sum(texts[i]) * (z - log_total) for z, t in zip(images[i], texts[i], strict=True))
    if name == "relational":
        others = [j for j in present if j != i]
        return math.fsum((_dot(images[i], images[j]) - _dot(texts[i], texts[j])) ** 2 for j in others) / max(
            1, len(others)
        )
    if name == "class_mean":
        logits = [_dot(images[i], _unit(row)) / temperature for row in class_texts]
        return _log_sum_exp(logits) * sum(shares[i]) - _dot(shares[i], logits)
    if name == "sigmoid":
        logits = {j: _dot(images[i], texts[j]) / temperature - 10 for j in present}
        belong = {j: min(1.0, overlap[i][j] / overlap[i][i]) for j in present}
        return -math.fsum(
            belong[j] * math.log(_sigmoid(x)) + (1 - belong[j]) * math.log(_sigmoid(-x)) for j, x in logits.items()
        )
    target = _target(name, i, texts, present, shares, overlap)
    to_text = {j: _dot(images[i], texts[j]) / temperature for j in present}
    to_image = {j: _dot(texts[i], images[j]) / temperature for j in present}
    halves = [to_text] if name == "contrastive" else [to_text, to_image]
    parts = [math.fsum(target[j] * (_log_sum_exp(half.values()) - half[j]) for j in present) for half in halves]
    return sum(parts) / len(parts)


def _target(name, i, texts, present, shares, overlap) -> dict[int, float]:
    if name in ("clip", "contrastive", "centered_clip"):
        found = {j: overlap[i][j] for j in present}
    elif name == "soft_clip":
        found = {j: math.exp(_dot(texts[i], texts[j]) / 0.1) for j in present}
    else:
        found = {j: _dot(shares[i], shares[j]) for j in present}
        if name == "soft_label_clip":
            found = {j: same * math.exp(_dot(texts[i], texts[j]) / 0.1) for j, same in found.items()}
    total = sum(found.values())
    return {j: value / total for j, value in found.items()}


def _shares(label) -> Rows | None:
    if label is None or isinstance(label[0], list):
        return label
    return [[float(k == own) for k in range(max(label) + 1)] for own in label]


def _log_sum_exp(values) -> float:
    values = list(values)
    return max(values) + math.log(math.fsum(math.exp(x - max(values)) for x in values))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _unit(row: list[float]) -> list[float]:
    length = math.sqrt(_dot(row, row))
    return [x / length for x in row]


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))
