"""Teach a vision network with words; deploy it without them.

Every command is a function of the same name that takes the configuration object of its options:

    import sightwords

    sightwords.train(sightwords.TrainConfig("photos", embeddings="E", model="resnet50", out="run"))

`import` is a keyword of Python, so that command is `import_descriptions` here. For a training loop of one's own there
are `sightwords.align`, which stands alone, and `image_keys` and `TextVectors`, which lead from image files to vectors.
"""

from __future__ import annotations

import gc
import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightwords import align
    from sightwords.artifacts.description_set import DescriptionSet
    from sightwords.artifacts.embedding_set import EmbeddingSet
    from sightwords.artifacts.run_folder import RunFolder
    from sightwords.artifacts.text_vectors import TextVectors
    from sightwords.data.config import AugmentConfig
    from sightwords.data.key_cache import image_keys
    from sightwords.errors import SightwordsError
    from sightwords.features import FeatureHook
    from sightwords.stages.audit.config import AuditConfig
    from sightwords.stages.audit.run import run as audit
    from sightwords.stages.browse.config import BrowseConfig
    from sightwords.stages.browse.run import run as browse
    from sightwords.stages.compare.config import CompareConfig
    from sightwords.stages.compare.run import run as compare
    from sightwords.stages.demo.config import DemoConfig
    from sightwords.stages.demo.run import run as demo
    from sightwords.stages.describe.config import DescribeConfig
    from sightwords.stages.describe.run import run as describe
    from sightwords.stages.embed.config import EmbedConfig
    from sightwords.stages.embed.run import run as embed
    from sightwords.stages.evaluate.config import EvaluateConfig
    from sightwords.stages.evaluate.run import run as evaluate
    from sightwords.stages.explain.config import ExplainConfig
    from sightwords.stages.explain.run import run as explain
    from sightwords.stages.export.config import ExportConfig
    from sightwords.stages.export.run import run as export
    from sightwords.stages.importing.config import ImportConfig
    from sightwords.stages.importing.run import run as import_descriptions
    from sightwords.stages.merge.config import MergeConfig
    from sightwords.stages.merge.run import run as merge
    from sightwords.stages.predict.config import PredictConfig
    from sightwords.stages.predict.run import run as predict
    from sightwords.stages.search.config import SearchConfig
    from sightwords.stages.search.run import run as search
    from sightwords.stages.train.config import AlignConfig, TrainConfig, TrainingOptions
    from sightwords.stages.train.run import run as train

__version__ = "0.1.0"

_STAGES = "sightwords.stages"
_PUBLIC = {
    "AlignConfig": f"{_STAGES}.train.config:AlignConfig",
    "AuditConfig": f"{_STAGES}.audit.config:AuditConfig",
    "AugmentConfig": "sightwords.data.config:AugmentConfig",
    "BrowseConfig": f"{_STAGES}.browse.config:BrowseConfig",
    "CompareConfig": f"{_STAGES}.compare.config:CompareConfig",
    "DemoConfig": f"{_STAGES}.demo.config:DemoConfig",
    "DescribeConfig": f"{_STAGES}.describe.config:DescribeConfig",
    "DescriptionSet": "sightwords.artifacts.description_set:DescriptionSet",
    "EmbedConfig": f"{_STAGES}.embed.config:EmbedConfig",
    "EmbeddingSet": "sightwords.artifacts.embedding_set:EmbeddingSet",
    "EvaluateConfig": f"{_STAGES}.evaluate.config:EvaluateConfig",
    "ExplainConfig": f"{_STAGES}.explain.config:ExplainConfig",
    "ExportConfig": f"{_STAGES}.export.config:ExportConfig",
    "FeatureHook": "sightwords.features:FeatureHook",
    "ImportConfig": f"{_STAGES}.importing.config:ImportConfig",
    "MergeConfig": f"{_STAGES}.merge.config:MergeConfig",
    "PredictConfig": f"{_STAGES}.predict.config:PredictConfig",
    "RunFolder": "sightwords.artifacts.run_folder:RunFolder",
    "SearchConfig": f"{_STAGES}.search.config:SearchConfig",
    "SightwordsError": "sightwords.errors:SightwordsError",
    "TextVectors": "sightwords.artifacts.text_vectors:TextVectors",
    "TrainConfig": f"{_STAGES}.train.config:TrainConfig",
    "TrainingOptions": f"{_STAGES}.train.config:TrainingOptions",
    "align": "sightwords.align:",
    "audit": f"{_STAGES}.audit.run:run",
    "browse": f"{_STAGES}.browse.run:run",
    "compare": f"{_STAGES}.compare.run:run",
    "demo": f"{_STAGES}.demo.run:run",
    "describe": f"{_STAGES}.describe.run:run",
    "embed": f"{_STAGES}.embed.run:run",
    "evaluate": f"{_STAGES}.evaluate.run:run",
    "explain": f"{_STAGES}.explain.run:run",
    "export": f"{_STAGES}.export.run:run",
    "image_keys": "sightwords.data.key_cache:image_keys",
    "import_descriptions": f"{_STAGES}.importing.run:run",
    "merge": f"{_STAGES}.merge.run:run",
    "search": f"{_STAGES}.search.run:run",
    "predict": f"{_STAGES}.predict.run:run",
    "train": f"{_STAGES}.train.run:run",
}

__all__ = [
    "AlignConfig",
    "AuditConfig",
    "AugmentConfig",
    "BrowseConfig",
    "CompareConfig",
    "DemoConfig",
    "DescribeConfig",
    "DescriptionSet",
    "EmbedConfig",
    "EmbeddingSet",
    "EvaluateConfig",
    "ExplainConfig",
    "ExportConfig",
    "FeatureHook",
    "ImportConfig",
    "MergeConfig",
    "PredictConfig",
    "RunFolder",
    "SearchConfig",
    "SightwordsError",
    "TextVectors",
    "TrainConfig",
    "TrainingOptions",
    "__version__",
    "align",
    "audit",
    "browse",
    "compare",
    "demo",
    "describe",
    "embed",
    "evaluate",
    "explain",
    "export",
    "image_keys",
    "import_descriptions",
    "merge",
    "predict",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import sightwords` stays instant."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sightwords' has no attribute {name!r}; it has: {', '.join(sorted(_PUBLIC))}")
    module, _, attribute = _PUBLIC[name].partition(":")
    loaded = _load(module)
    value = getattr(loaded, attribute) if attribute else loaded
    globals()[name] = value
    return value


def _load(module: str) -> ModuleType:
    """Import a module without looking for garbage meanwhile: what libraries make stays, and looking takes a tenth."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if was_enabled:
            gc.enable()


def __dir__() -> list[str]:
    return sorted(__all__)
