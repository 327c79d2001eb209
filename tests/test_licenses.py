"""Licenses: what is known is said with its source, what is not is said to be unknown."""

from __future__ import annotations

import pytest

from sightwords.errors import ConfigError
from sightwords.hub import card_license
from sightwords.licenses import (
    NOTHING_TO_LICENSE,
    Part,
    describer_part,
    encoder_part,
    read_licenses,
    user_table,
    warn_of_use,
)
from sightwords.models.card import RunFacts, TextFacts


@pytest.fixture(autouse=True)
def own_configuration(tmp_path, monkeypatch):
    """Keep the user's own table away from the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(
    ("part", "license", "commercial"),
    [
        (describer_part("hf:HuggingFaceTB/SmolVLM2-256M-Video-Instruct"), "apache-2.0", "allowed"),
        (describer_part("server:Qwen/Qwen2.5-VL-3B-Instruct"), "qwen-research", "forbidden"),
        (describer_part("server:qwen/qwen2.5-vl-7b-instruct"), "apache-2.0", "allowed"),
        (describer_part("hf:meta-llama/Llama-3.2-11B-Vision-Instruct"), "llama3.2", "conditions"),
        (describer_part("server:gpt-4o"), "", "unknown"),
        (describer_part("import:texts.csv"), "", "unknown"),
        (describer_part("class_name"), NOTHING_TO_LICENSE, "allowed"),
        (encoder_part("builtin:words-512", None), NOTHING_TO_LICENSE, "allowed"),
        (encoder_part("builtin:minilm", "apache-2.0"), "apache-2.0", "allowed"),
        (encoder_part("st:jinaai/jina-embeddings-v3", None), "cc-by-nc-4.0", "forbidden"),
        (encoder_part("openclip:ViT-B-32/laion2b_s34b_b79k", None), "mit", "allowed"),
        (Part("starting weights", "timm:x.y", "cc-by-nc-4.0"), "cc-by-nc-4.0", "forbidden"),
        (Part("starting weights", "timm:x.y", "some-new-license"), "some-new-license", "unknown"),
    ],
)
def test_the_table(part, license, commercial):
    found = read_licenses().find(part)
    assert (found.license, found.commercial) == (license, commercial)
    assert bool(found.warning()) == (commercial != "allowed")


def test_the_users_own_tables_go_first(tmp_path):
    part = describer_part("server:Qwen/Qwen2.5-VL-3B-Instruct")
    user_table().parent.mkdir(parents=True)
    user_table().write_text("names: {'Qwen/*': ours}\nlicenses: {ours: allowed}\n")
    assert read_licenses().find(part).license == "ours"
    assert read_licenses().find(part).commercial == "allowed"
    (tmp_path / "more.yaml").write_text("names: {Qwen/Qwen2.5-VL-3B-Instruct: cc-by-nc-4.0}\n")
    assert read_licenses(tmp_path / "more.yaml").find(part).commercial == "forbidden"


def test_a_models_own_card_is_read(tmp_path):
    (tmp_path / "model").mkdir()
    card = tmp_path / "model" / "README.md"
    card.write_text("---\nlanguage: en\nlicense: mit\n---\n# Model\n")
    found = read_licenses().find(Part("describer", f"hf:{tmp_path / 'model'}"))
    assert (found.license, found.source) == ("mit", "its card on this machine")
    card.write_text("---\nlicense: other\nlicense_name: qwen-research\n---\n")
    assert card_license(tmp_path / "model") == "qwen-research"
    card.write_text("# no front matter\nlicense: mit\n---\n")
    assert card_license(tmp_path / "model") is None


def test_warnings_name_what_is_wrong(capsys):
    parts = [describer_part("hf:Qwen/Qwen2.5-VL-3B-Instruct"), Part("images", "photos"), describer_part("class_name")]
    assert warn_of_use(parts, None) == []
    found = warn_of_use(parts, "commercial")
    assert len(found) == 2
    assert "qwen-research, forbids commercial use" in found[0]
    assert "license of the images photos is not known" in found[1]
    assert capsys.readouterr().err.splitlines() == found
    warn_of_use(parts, "commercial", show=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a]", "must hold `names:`"),
        ("models: {a: mit}", "unknown entry 'models'"),
        ("licenses: {mit: yes}", "mit is True; it must be one of"),
        ("names: {a", "is not valid YAML"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, text, message):
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_licenses(tmp_path / "t.yaml")
    with pytest.raises(ConfigError, match="Cannot read the licenses"):
        read_licenses(tmp_path / "gone.yaml")


def test_facts_of_a_run_name_every_part_once():
    text = TextFacts("builtin:minilm", "all-MiniLM-L6-v2", "0" * 40, "apache-2.0", [{"identifier": "hf:a/b"}], [], 3)
    facts = RunFacts("photos", 4, 2, "timm:resnet18.a1_in1k", "apache-2.0", [text, text])
    roles = [part.role for part in facts.parts("timm:resnet18")]
    assert roles == ["images", "network code", "starting weights", "describer", "encoder"]
