"""The folder that timm reads from the Hugging Face hub: `timm.create_model("hf-hub:OWNER/NAME", pretrained=True)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file

from sightwords.errors import ArtifactError, ConfigError, ModelError
from sightwords.exporting.check import Check, Checkpoint, Loaded, equal_weights, same_graph
from sightwords.files import write_text
from sightwords.models.run_folder import KEY, network_config

# of the library's own weights, which these are not
_FOREIGN = ("license", "origin_url", "paper_ids", "paper_name", "tag", "notes", "test_input_size", "test_crop_pct")


class HubFormat:
    """timm's layout on the Hugging Face hub."""

    library = "timm"
    tolerance = 0.0

    def write(self, checkpoint: Checkpoint, folder: Path, name: str) -> Path:
        """Write `config.json` and `model.safetensors` as timm writes them.

        Raises:
            ConfigError: the network is not timm's.
        """
        if checkpoint.library != "timm":
            raise ConfigError(
                f"The layout of the hub is timm's, and the network is {checkpoint.info.model}. "
                f"Use --format {checkpoint.library}, onnx or torch_export."
            )
        config = network_config(checkpoint.info)
        given = {key: config[key] for key in ("label_names", "label_descriptions", "model_args", "pretrained_cfg")}
        network = checkpoint.stock(checkpoint.weights)
        timm.models.save_for_hf(network, str(folder), model_config=given, safe_serialization=True)
        # take out what timm knows of its own weights, and add what it has no name for
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        pretrained = {key: value for key, value in written["pretrained_cfg"].items() if key not in _FOREIGN}
        amended = {**written, "pretrained_cfg": pretrained, "multi_label": config["multi_label"], KEY: config[KEY]}
        write_text(folder / "config.json", json.dumps(amended, indent=2, ensure_ascii=False) + "\n")
        return folder / "model.safetensors"

    def load(self, file: Path, checkpoint: Checkpoint) -> Loaded:
        """Let timm load the folder, and compare weights and preprocessing with the run's."""
        network = timm.create_model(f"local-dir:{file.parent}", pretrained=True).eval()
        same_graph(network, checkpoint.stock(load_file(file), file.name))
        text = 'by timm.create_model("local-dir:...", pretrained=True), strict=True'
        weights = equal_weights(network.state_dict(), checkpoint.weights, file.name)
        checks = [Check("loads", text, {"strict": True}), weights, _same_preprocessing(network, checkpoint)]
        return Loaded(network, checks)

    def snippet(self, checkpoint: Checkpoint, out: str) -> str:
        """Return lines that load the folder with timm."""
        lines = ["import timm", f'network = timm.create_model("local-dir:{out}", pretrained=True)']
        lines.append("transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))")
        return "\n".join(lines)


HUB = HubFormat()


def _same_preprocessing(network: Any, checkpoint: Checkpoint) -> Check:
    found = timm.data.resolve_model_data_config(network, use_test_size=True)
    wanted = network_config(checkpoint.info)["pretrained_cfg"]
    shown = {key: list(found[key]) if isinstance(found[key], tuple) else found[key] for key in found if key in wanted}
    if odd := sorted(key for key, value in shown.items() if value != wanted[key]):
        raise ArtifactError(f"timm would not prepare images as the training did; differing: {', '.join(odd)}.")
    return Check("preprocessing", "timm resolves the run's own size, crop, interpolation, mean and deviation", shown)


def check_token() -> None:
    """Raise ModelError, before any work, where neither $HF_TOKEN nor a login of the hub's library gives a token."""
    from huggingface_hub import get_token

    if get_token() is None:
        raise ModelError("There is no token for the Hugging Face hub. Set HF_TOKEN, or run: hf auth login")


def upload(folder: Path, repository: str, private: bool) -> str:
    """Upload a folder to a model repository, made where it is new; return the address of the commit."""
    from huggingface_hub import HfApi

    api = HfApi(library_name="sightwords")
    try:
        made = api.create_repo(repository, private=private or None, exist_ok=True)
        done = api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Export of sightwords")
    except Exception as error:  # the hub's library has its own errors, and passes on those of its HTTP library
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise ModelError(f"The hub refused the upload to {repository}: {reason}") from None
    return str(done.commit_url)
