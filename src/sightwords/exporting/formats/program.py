"""A program of torch.export, with classes and preprocessing among its extra files; it takes batches of any size."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from sightwords.errors import ArtifactError
from sightwords.exporting.check import Check, Checkpoint, Loaded, equal_weights
from sightwords.models.run_folder import network_config

_CONFIG = "config.json"


class ProgramFormat:
    """torch.export, for torch without the network's own code."""

    library = "pytorch"
    tolerance = 1e-5  # the same kernels; it is bit-equal where nothing was decomposed

    def write(self, checkpoint: Checkpoint, folder: Path, name: str) -> Path:
        """Write the stock network with the run's weights.

        Raises:
            ArtifactError: torch.export cannot trace the network for batches of any size.
        """
        images = torch.zeros(2, 3, checkpoint.info.image_size, checkpoint.info.image_size)
        network = checkpoint.stock(checkpoint.weights)
        try:
            with warnings.catch_warnings(action="ignore"):  # of torch's own making
                program = torch.export.export(network, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        except Exception as error:  # torch passes on whatever a network's code raises
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
            raise ArtifactError(f"torch.export cannot trace {checkpoint.info.model}: {reason}") from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # files of this machine
        config = json.dumps(network_config(checkpoint.info), ensure_ascii=False)
        torch.export.save(program, folder / name, extra_files={_CONFIG: config})
        return folder / name

    def load(self, file: Path, checkpoint: Checkpoint) -> Loaded:
        """Load the program, and compare its weights with the run's."""
        program = torch.export.load(file)
        checkpoint.stock(program.state_dict, file.name)
        text = f"by torch.export.load; its weights into {checkpoint.library} with strict=True"
        weights = equal_weights(program.state_dict, checkpoint.weights, file.name)
        return Loaded(program.module(), [Check("loads", text, {"strict": True}), weights])

    def snippet(self, checkpoint: Checkpoint, out: str) -> str:
        """Return lines that run the program."""
        size = checkpoint.info.image_size
        lines = ["import json, torch", f'files = {{"{_CONFIG}": ""}}']
        lines.append(f'network = torch.export.load("{out}", extra_files=files).module()')
        lines.append(f'classes = json.loads(files["{_CONFIG}"])["label_names"]')
        return "\n".join([*lines, f"logits = network(torch.zeros(1, 3, {size}, {size}))  # normalized images"])


TORCH_EXPORT = ProgramFormat()
