"""Teach a vision network with words; deploy it without them.

Every command is a function of the same name that takes the configuration object of its options:

    import sightwords

    sightwords.train(sightwords.TrainConfig("photos", embeddings="E", model="resnet50", out="run"))

`import` is a keyword of Python, so that command is `import_descriptions` here. For a training loop of one's own there
are `sightwords.align`, which stands alone, and `image_keys` and `TextVectors`, which lead from image files to vectors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightwords import align as align
    from sightwords.browsing.browse import browse as browse
    from sightwords.browsing.config import BrowseConfig as BrowseConfig
    from sightwords.comparison.config import CompareConfig as CompareConfig
    from sightwords.comparison.run import compare as compare
    from sightwords.demonstration.config import DemoConfig as DemoConfig
    from sightwords.demonstration.demo import demo as demo
    from sightwords.descriptions.config import DescribeConfig as DescribeConfig
    from sightwords.descriptions.config import ImportConfig as ImportConfig
    from sightwords.descriptions.config import MergeConfig as MergeConfig
    from sightwords.descriptions.describe import describe as describe
    from sightwords.descriptions.import_ import import_descriptions as import_descriptions
    from sightwords.descriptions.merge import merge as merge
    from sightwords.descriptions.store import DescriptionSet as DescriptionSet
    from sightwords.errors import SightwordsError as SightwordsError
    from sightwords.evaluation.config import EvaluateConfig as EvaluateConfig
    from sightwords.evaluation.config import ExplainConfig as ExplainConfig
    from sightwords.evaluation.config import PredictConfig as PredictConfig
    from sightwords.evaluation.config import SearchConfig as SearchConfig
    from sightwords.evaluation.evaluate import evaluate as evaluate
    from sightwords.evaluation.explain import explain as explain
    from sightwords.evaluation.predict import predict as predict
    from sightwords.evaluation.search import search as search
    from sightwords.exporting.config import ExportConfig as ExportConfig
    from sightwords.exporting.export import export as export
    from sightwords.images.config import AugmentConfig as AugmentConfig
    from sightwords.images.keys import image_keys as image_keys
    from sightwords.labels.audit import audit as audit
    from sightwords.labels.config import AuditConfig as AuditConfig
    from sightwords.labels.config import LabelConfig as LabelConfig
    from sightwords.labels.label import label as label
    from sightwords.models.features import FeatureHook as FeatureHook
    from sightwords.models.run_folder import RunFolder as RunFolder
    from sightwords.text.config import EmbedConfig as EmbedConfig
    from sightwords.text.embed import embed as embed
    from sightwords.text.embedding_set import EmbeddingSet as EmbeddingSet
    from sightwords.text.embedding_set import TextVectors as TextVectors
    from sightwords.training.config import AlignConfig as AlignConfig
    from sightwords.training.config import TrainConfig as TrainConfig
    from sightwords.training.config import TrainingOptions as TrainingOptions
    from sightwords.training.run import train as train

__version__ = "0.1.0"

_PUBLIC = {
    name: module
    for module, names in {
        "browsing.browse": "browse",
        "browsing.config": "BrowseConfig",
        "comparison.config": "CompareConfig",
        "comparison.run": "compare",
        "demonstration.config": "DemoConfig",
        "demonstration.demo": "demo",
        "descriptions.config": "DescribeConfig ImportConfig MergeConfig",
        "descriptions.describe": "describe",
        "descriptions.import_": "import_descriptions",
        "descriptions.merge": "merge",
        "descriptions.store": "DescriptionSet",
        "errors": "SightwordsError",
        "evaluation.config": "EvaluateConfig ExplainConfig PredictConfig SearchConfig",
        "evaluation.evaluate": "evaluate",
        "evaluation.explain": "explain",
        "evaluation.predict": "predict",
        "evaluation.search": "search",
        "exporting.config": "ExportConfig",
        "exporting.export": "export",
        "images.config": "AugmentConfig",
        "images.keys": "image_keys",
        "labels.audit": "audit",
        "labels.config": "AuditConfig LabelConfig",
        "labels.label": "label",
        "models.features": "FeatureHook",
        "models.run_folder": "RunFolder",
        "text.config": "EmbedConfig",
        "text.embed": "embed",
        "text.embedding_set": "EmbeddingSet TextVectors",
        "training.config": "AlignConfig TrainConfig TrainingOptions",
        "training.run": "train",
    }.items()
    for name in names.split()
}

__all__ = sorted(["__version__", "align", *_PUBLIC])


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import sightwords` stays instant."""
    if name == "align":
        return importlib.import_module("sightwords.align")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sightwords' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"sightwords.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
