"""What the report is made from."""

from __future__ import annotations

from dataclasses import dataclass

from sightwords.stages.compare.record import Record

ALL_MODELS = "all models"


@dataclass(frozen=True)
class Fixed:
    """A validation image that the aligned network got right and the baseline wrong.

    Attributes:
        picture: JPEG or PNG bytes.
        name: as a user knows the image.
        label: readable name of its class.
        baseline_said: class that the baseline gave.
        descriptions: of the training images that the aligned network finds it most like.
    """

    picture: bytes
    name: str
    label: str
    baseline_said: str
    descriptions: list[str]


@dataclass(frozen=True)
class Example:
    """A training image (JPEG or PNG bytes), the readable name of its class, and its description."""

    picture: bytes
    label: str
    text: str


@dataclass(frozen=True)
class EffectRow:
    """What an arm gains over the baseline: fractions of top-1, of one network or of `ALL_MODELS`."""

    condition: str
    model: str
    arm: str
    mean: float
    low: float
    high: float
    probability: float
    p_value: float
    adjusted_p: float


@dataclass(frozen=True)
class ReportData:
    """Everything that the report shows.

    Attributes:
        title: heading.
        verdict: sentences, the first of them on top.
        recommendation: what to do.
        effects: of every condition, network and arm.
        records: the trainings.
        class_names: readable name by class id.
        fixed: images that the text put right.
        examples: training images with their descriptions.
        commands: what was run.
        environment: versions, hardware, recipe.
        licenses: of each part.
        notes: what was left out, and why.
    """

    title: str
    verdict: list[str]
    recommendation: str
    effects: list[EffectRow]
    records: list[Record]
    class_names: dict[str, str]
    fixed: list[Fixed]
    examples: list[Example]
    commands: list[str]
    environment: dict[str, str]
    licenses: dict[str, str]
    notes: list[str]
