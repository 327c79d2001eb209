"""Where a training begins: at the newest checkpoint, or with a new run folder that says what is trained."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sightwords.artifacts.run_folder import NetworkInfo, RunFolder
from sightwords.backbones import Backbone
from sightwords.data.catalog import Catalog
from sightwords.stages.train.checkpoint import TrainState
from sightwords.stages.train.config import TrainConfig
from sightwords.stages.train.process import Processes


def restore_or_start(
    state: TrainState, folder: RunFolder, config: TrainConfig, catalog: Catalog, group: Processes
) -> int:
    """Load the newest checkpoint, or start the run's folder; return the step to go on from."""
    saved = folder.load_checkpoint() if config.resume else None
    if saved is not None:
        state.load_state_dict(saved)
    if not group.first:
        state.sums.zero_()  # what was counted before lies with the first process
    else:
        if saved is None:
            folder.start(plain_options(config), _network_info(config, state.task.backbone, catalog))
        folder.truncate_metrics(state.step)
    group.wait()
    state.sums = state.sums.to(group.device)
    return state.step


def plain_options(config: TrainConfig) -> dict[str, Any]:
    """Return the options that are set, with paths as text, so that the YAML can be used as `--config` again."""
    values = {name: value for name, value in asdict(config).items() if value is not None and name != "resume"}
    values["embeddings"] = [str(folder) for folder in config.embeddings]
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _network_info(config: TrainConfig, backbone: Backbone, catalog: Catalog) -> NetworkInfo:
    spec = backbone.input_spec
    return NetworkInfo(
        backbone.identifier,
        dict(config.model_kwargs),
        backbone.kwargs,
        len(catalog.class_ids),
        catalog.class_ids,
        catalog.class_names,
        catalog.multi_label,
        spec.image_size,
        spec.interpolation,
        config.crop_pct or spec.crop_pct,
        spec.mean,
        spec.std,
    )
