"""The upload, against the hub library's own interface with nothing behind it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock, create_autospec

import huggingface_hub
import pytest
from huggingface_hub import ModelCard

from sightwords.errors import ModelError
from sightwords.exporting.config import ExportConfig
from sightwords.exporting.export import export as run

TOKEN = "hf_of_the_test"


@pytest.fixture
def hub(monkeypatch) -> MagicMock:
    """The interface: calls must fit its signatures; `files` has what was uploaded."""
    api = create_autospec(huggingface_hub.HfApi, instance=True)
    api.files = {}

    def upload(*, repo_id: str, folder_path: Path, **_: object) -> SimpleNamespace:
        api.files |= {path.name: path.read_bytes() for path in folder_path.iterdir()}
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    api.create_repo.side_effect = lambda repo_id, **_: SimpleNamespace(repo_id=repo_id)
    api.upload_folder.side_effect = upload
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: api)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return api


def test_what_is_uploaded_is_the_folder_that_timm_reads(exported, hub):
    folder = exported[0]
    result = run(ExportConfig(folder / "run", push_to_hub="me/birds", license="apache-2.0", pairs=1))
    assert set(hub.files) == {"config.json", "model.safetensors", "README.md", "certificate.json"}
    assert result.uploaded.endswith("/commit/1")
    assert "hf-hub:me/birds" in result.summary()
    for name in ("config.json", "model.safetensors"):  # of which a test of the formats shows that timm reads it
        assert hub.files[name] == (folder / "hub" / name).read_bytes()
    card = ModelCard(hub.files["README.md"].decode())
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("apache-2.0", "timm", "birds")
    assert TOKEN not in "".join(data.decode("latin1") for data in hub.files.values())


def test_where_the_hub_refuses_the_folder_is_kept(exported, hub, tmp_path):
    hub.create_repo.side_effect = ConnectionError("403: no right to write here")
    with pytest.raises(ModelError, match="refused.*me/birds: 403"):
        run(ExportConfig(exported[0] / "run", push_to_hub="me/birds", out=tmp_path / "hub", pairs=1))
    assert (tmp_path / "hub" / "model.safetensors").is_file()


def test_without_a_token_nothing_is_begun(exported, monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ModelError, match="Set HF_TOKEN"):
        run(ExportConfig(exported[0] / "run", push_to_hub="me/birds", out=tmp_path / "hub"))
    assert list(tmp_path.iterdir()) == []
