from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from sightwords.cli import COMMANDS, Interruption, app


def test_help_lists_every_command(call):
    assert all(map(call("--help").__contains__, COMMANDS))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(call, command):
    text = call(command, "--help-all")
    assert "--out" in text or command == "browse"  # it writes nothing but decisions
    for line in text.splitlines():
        if line.startswith("│") and "--" in line and "--help" not in line:
            assert len(line.strip("│ ").split("  ")) >= 2, f"no help: {line}"


def test_a_help_of_several_lines_is_one_paragraph(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    assert "a program for torch.export.load. hub" in call("export", "--help")


def test_the_help_of_train_shows_the_usual_options_in_groups_and_help_all_the_rest(call):
    def options(text):
        return {line.split("--")[1].split()[0] for line in text.splitlines() if line.startswith("│") and " --" in line}

    usual, every = call("train", "--help"), call("train", "--help-all")
    assert len(options(usual)) <= 40
    assert all(f"─ {group} ─" in usual for group in "Data Network Recipe Text Labels Run".split())  # noqa: SIM905
    assert options(usual) < options(every)
    assert {"align.layers", "momentum"} <= options(every)
    assert "--help-all shows" in usual


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], 'Did you mean "train"'),
        (["train", "photos", "--out", "x", "--modle", "vit"], "Did you mean --model"),
        (["train", "photos", "--out", "x", "--align.loss", "clap"], 'Did you mean "clip"'),
    ],
)
def test_unknown_words_are_answered_with_the_nearest_known(call, arguments, message):
    assert message in " ".join(call(*arguments, code=2).replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--out", "x"], "No images given"),
        (["train", "photos", "--out", "x", "--epochs", "0"], "--epochs is 0"),
        (["train", "nowhere", "--out", "x"], "nowhere does not exist"),
        (["evaluate", "nowhere", "photos"], "is not a run"),
        (["predict", "nowhere", "a.png"], "There is no nowhere"),
        (["embed", "nowhere.db", "--out", "e"], "no description set at nowhere.db"),
    ],
)
def test_errors_are_one_message_without_a_traceback(call, arguments, message):
    assert message in call(*arguments, code=2)


def test_a_yaml_file_gives_options_and_flags_go_before_it(call, tmp_path):
    (tmp_path / "recipe.yaml").write_text("epochs: 0\nmodel: resnet18\nalign: {weight: 2}\n")
    recipe = ["--config", tmp_path / "recipe.yaml"]
    assert "--epochs is 0" in call("train", "photos", "--out", "x", *recipe, code=2)
    assert "photos does not exist" in call("train", "photos", "--out", "x", "--epochs", "3", *recipe, code=2)
    (tmp_path / "recipe.yaml").write_text("modell: resnet18\n")
    assert "Did you mean" in call("train", "photos", "--out", "x", *recipe, code=2)


def test_arguments_of_the_factory_keep_their_kinds(tmp_path):
    given = {"drop-path-rate": "0.1", "depth": "4", "global-pool": "avg", "qkv-bias": "false", "eps": "1e-5"}
    options = [word for name, value in given.items() for word in (f"--model-kwargs.{name}", value)]
    words = ["train", "photos", "--model", "resnet18", "--out", "run", *options]
    _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    expected = {"drop_path_rate": 0.1, "depth": 4, "global_pool": "avg", "qkv_bias": False, "eps": 1e-05}
    assert repr(bound.arguments["config"].model_kwargs) == repr(expected)  # 0 would equal False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_to_stop_and_the_second_stops(number, capfd):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interruption(grace_s=60) as interruption:
        assert not interruption.requested()
        os.kill(os.getpid(), number)
        assert interruption.requested()
        assert "up to 60 s" in capfd.readouterr().err
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert signal.getsignal(number) == before


def test_the_end_of_the_grace_period_ends_a_wait():
    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Interruption(grace_s=0.2, show=False) as interruption:
        interruption.requested()
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(20)
    assert 0.15 < time.monotonic() - start_s < 5


def test_one_signal_is_enough_where_nobody_asks_yet():
    with pytest.raises(KeyboardInterrupt), Interruption(grace_s=60, show=False):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
