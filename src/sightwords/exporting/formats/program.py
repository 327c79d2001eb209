"""A program of torch.export, with classes and preprocessing among its extra files; it takes batches of any size."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from sightwords.errors import ArtifactError
from sightwords.exporting.check import Check, count_flops, equal_weights, same_graph
from sightwords.exporting.checkpoint import Subject, load_strictly
from sightwords.exporting.formats.base import Loaded
from sightwords.models.network_config import network_config

CONFIG_FILE = "config.json"


class ProgramFormat:
    """torch.export, for torch without the network's own code."""

    name = "torch_export"
    tolerance = 1e-5  # the same kernels; it is bit-equal where nothing was decomposed

    def write(self, subject: Subject, folder: Path, name: str) -> Path:
        """Write the stock network with the run's weights.

        Raises:
            ArtifactError: torch.export cannot trace the network for batches of any size.
        """
        stock = subject.stock()
        load_strictly(stock, subject.weights, "the run's model.safetensors")
        images = torch.zeros(2, 3, subject.info.image_size, subject.info.image_size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch's own making
                program = torch.export.export(stock, (images,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        except Exception as error:  # torch passes on whatever a network's code raises
            reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
            raise ArtifactError(f"torch.export cannot trace {subject.info.model}: {reason}") from error
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # files of this machine
        config = json.dumps(network_config(subject.info), ensure_ascii=False)
        torch.export.save(program, folder / name, extra_files={CONFIG_FILE: config})
        return folder / name

    def load(self, file: Path, subject: Subject) -> Loaded:
        """Load the program, and compare its weights with the run's."""
        program = torch.export.load(file)
        module = program.module()
        stock = subject.stock()
        load_strictly(stock, program.state_dict, file.name)
        checks = [
            Check(
                "loads", f"by torch.export.load; its weights into {subject.library} with strict=True", {"strict": True}
            ),
            equal_weights(program.state_dict, dict(subject.weights), file.name),
            same_graph(subject.network, subject.stock()),
        ]
        return Loaded(module, count_flops(module, subject.info.image_size), checks)

    def snippet(self, subject: Subject, out: str) -> str:
        """Return lines that run the program."""
        size = subject.info.image_size
        lines = ["import json, torch", f'files = {{"{CONFIG_FILE}": ""}}']
        lines.append(f'network = torch.export.load("{out}", extra_files=files).module()')
        lines.append(f'classes = json.loads(files["{CONFIG_FILE}"])["label_names"]')
        return "\n".join([*lines, f"logits = network(torch.zeros(1, 3, {size}, {size}))  # normalized images"])
