"""What people type first: other names of commands and flags, settings as words, names instead of paths."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dltrain.cli.main import COMMANDS, main, run_command
from dltrain.cli.shared.settings import separate_settings
from dltrain.cli.usage import EXPLAINED, FOREIGN, SYNONYMS, expand_synonym
from dltrain.errors import DltrainError, NoCheckpoint, UsageError
from dltrain.runs.finding import find_run

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        run_command(list(words))
    return str(caught.value)


def shown(capsys: Out, *words: str) -> str:
    assert run_command(list(words)) == 0
    return capsys.readouterr().out


SHORT = "--epochs 4 --device cpu --lr 0.5 --batch-size 2 --seed 7"


def test_shorthands_and_words_after_the_config_are_settings(capsys: Out) -> None:
    options = ["trainer.epochs=4", "trainer.device=cpu", "optimizer.learning_rate=0.5", "data.batch_size=2", "seed=7"]
    expected = shown(capsys, "config", "show", "linear_regression", *options)
    flags = [word for option in options for word in ("--set", option)]
    assert shown(capsys, "config", "show", "linear_regression", *flags) == expected
    assert run_command(["fit", "linear_regression", "model.solve=false", *SHORT.split(), "-q", "-o", "run"]) == 0
    config = json.loads(shown(capsys, "config", "show", "run", "--json"))
    assert (config["trainer"]["epochs"], config["trainer"]["device"], config["seed"]) == (4, "cpu", 7)
    assert (config["optimizer"]["learning_rate"], config["data"]["batch_size"]) == (0.5, 2)
    assert config["model"]["solve"] is False


@pytest.mark.parametrize("command", ["fit", "cv", "sweep", "find-lr", "summary", "data show"])
def test_settings_of_every_command_reach_the_config(command: str) -> None:
    """A bad value is reported as a fault of the config, whichever way it was given."""
    for words in (["trainer.epochs=none"], ["--set", "trainer.epochs=none"]):
        assert "trainer.epochs must be an integer >= 1" in refused(*command.split(), "mnist_sweep", *words)
    if command in ("fit", "cv", "sweep"):
        told = refused(command, "mnist_sweep", "--epochs", "none", "--lr=x", "--batch-size", "0", "--seed", "-1")
        assert told.count("--set: error: ") == 4
        assert "--set trainer.epochs=none" in told


def test_a_setting_may_come_before_the_config() -> None:
    assert separate_settings(Path("seed=3"), ["a.yaml", "seed=4"]) == (Path("a.yaml"), ["seed=3", "seed=4"])
    Path("lr=3.yaml").touch()
    assert separate_settings(Path("lr=3.yaml"), []) == (Path("lr=3.yaml"), [])


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["gpu"], "next: --device gpu"),
        (["a.yaml"], "next: name one config"),
        (["resnet18"], "next: write section.option=VALUE"),
    ],
)
def test_a_word_that_is_no_setting(words: Sequence[str], advice: str) -> None:
    Path("a.yaml").touch()
    assert advice in refused("fit", "mnist_cnn", *words)
    assert "there is no config among the arguments" in refused("fit", "seed=3")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train x.yaml -q", "fit x.yaml -q"),
        ("test runs/x", "eval runs/x"),
        ("evaluate runs/x", "eval runs/x"),
        ("help", "--help"),
        ("help fit", "fit --help"),
        ("version", "--version"),
        ("fit train", "fit train"),
        ("", ""),
    ],
)
def test_synonyms(line: str, expected: str) -> None:
    assert expand_synonym(line.split()) == expected.split()


def test_no_synonym_hides_a_command() -> None:
    assert not {*SYNONYMS, *EXPLAINED, "help"} & COMMANDS.keys()
    assert {words[0] for words in SYNONYMS.values()} <= {*COMMANDS, "--version"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("fitt x.yaml", "did you mean 'fit'?"),
        ("trian x.yaml", "did you mean 'fit'?"),
        ("validate x.yaml", "`dltrain eval RUN --split validation`"),
        ("resume runs/x", "repeat the `dltrain fit` command"),
        ("x.yaml", "next: dltrain fit x.yaml"),
        ("xyzzy", "next: dltrain --help describes them"),
        ("fit mnist_cnn --epoch 2", "next: write --epochs N"),
        ("fit mnist_cnn --max-epochs 2", "next: write --epochs N"),
        ("config show mnist_cnn --max-epochs 2", "next: write --set trainer.epochs=N"),
        ("summary mnist_cnn --gpus 1", "next: write --set trainer.device=cuda"),
        ("describe", "next: `dltrain list` shows all kinds and names"),
        ("completion tcsh", "invalid value for 'shell': 'tcsh' is not one of"),
        ("fit mnist_cnn --gpus 1", "next: write --device cuda"),
        ("fit mnist_cnn --workers 4", "next: write --set data.workers=N"),
        ("fit --config x.yaml", "next: give the config without a flag: dltrain fit CONFIG"),
        ("cv -c x.yaml", "next: give the config without a flag: dltrain cv CONFIG"),
        ("fit mnist_cnn --resume", "it resumes an unfinished run; --fresh starts a new one"),
        ("fit mnist_cnn --batch_size=4", "did you mean '--batch-size'?"),
        ("fit mnist_cnn --hidden 3", "next: --set model.hidden=VALUE"),
        ("fit mnist_cnn --drop-out 3", "next: --set model.dropout=VALUE"),
        ("fit mnist_cnn --optimizer sgd", "next: --set optimizer=VALUE"),
        ("fit mnist_cnn --patience 3", "next: --set trainer.patience=VALUE"),
        ("fit mnist_cnn -v", "progress is printed"),
        ("-v", "next: dltrain --version"),
        ("eval runs/x --epochs 3", "`dltrain fit` sets what training does"),
        ("eval runs/x --tta 8", "next: write --views N"),
        ("predict runs/x a.png --ensemble", "the members of the directory of `fit --seeds` or `cv` are averaged"),
        ("eval runs/x --xyzzy", "next: dltrain eval --help shows all options"),
        ("fit mnist_cnn --set", "dltrain fit: option '--set' requires an argument"),
        ("predict runs/x y --top many", "dltrain predict: invalid value for '--top'"),
        ("summary x y=1 z", "'z' after the config is no setting"),
        ("describe model cnn lenet", "dltrain describe: got unexpected extra argument(s) (lenet)"),
        ("data foo", "dltrain data: no such command 'foo'"),
        ("fit", "dltrain fit: config is missing\nnext: dltrain fit mnist_cnn"),
        ("eval", "dltrain eval: run is missing\nnext: train one with `dltrain fit CONFIG`"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_answered_with_what_is(line: str, told: str) -> None:
    assert told in refused(*line.split())


@pytest.mark.parametrize("flag", sorted(FOREIGN))
def test_no_flag_of_another_tool_is_one_of_ours(flag: str) -> None:
    assert "next: " in refused("fit", "mnist_cnn", flag)


def test_a_usage_error_is_json_where_json_is_asked_for(capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["dltrain", "fit", "--jso", "--json"])
    monkeypatch.setattr("dltrain.cli.main.protect_output", lambda: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    event = json.loads(capsys.readouterr().err)
    assert event["message"] == "dltrain fit: there is no option --jso\ndid you mean '--json'?"


def test_configs_and_runs_at_hand_are_offered() -> None:
    Path("mine.yaml").touch()
    Path("runs/first/checkpoints").mkdir(parents=True)
    assert "next: dltrain fit mine.yaml (configs: mine.yaml; or those" in refused("fit")
    assert "next: dltrain eval runs/first (runs: runs/first)" in refused("eval")


def test_the_run_of_a_config() -> None:
    Path("runs/mnist_cnn/checkpoints").mkdir(parents=True)
    Path("runs/mine/checkpoints").mkdir(parents=True)
    for given in ("mnist_cnn", "mnist_cnn.yaml"):
        assert find_run(Path(given)) == Path("runs/mnist_cnn")
    for given in ("runs/mine", "runs/none", "elsewhere", "weights.safetensors", "configs/none.yaml"):
        assert find_run(Path(given)) == Path(given)
    assert find_run(Path("mine")) == Path("runs/mine")
    Path("mine.yaml").touch()
    assert find_run(Path("mine.yaml")) == Path("runs/mine")
    Path("other.yaml").touch()
    for given in ("other.yaml", "iris_dense"):
        with pytest.raises(NoCheckpoint, match=f"next: train it with `dltrain fit {given}`"):
            find_run(Path(given))


def test_eval_of_a_config_evaluates_its_run(capsys: Out) -> None:
    assert run_command(["fit", "iris_dense", "-q", "--epochs", "1"]) == 0
    assert run_command(["eval", "iris_dense"]) == 0
    assert capsys.readouterr().err.startswith("note: the run runs/iris_dense is used\n")
    with pytest.raises(DltrainError, match="runs: no run directory with checkpoints\nruns in it:\n  runs/iris_dense\n"):
        run_command(["eval", "runs/"])
    assert "runs: error: this is a directory, not a file\n    allowed: runs/iris_dense" in refused("fit", "runs/")


def test_names_of_models_that_another_one_contains(capsys: Out) -> None:
    told = refused("config", "check", "mnist_cnn", "model=resnet18")
    assert "model 'resnet18' is not known, but torchvision has it as architecture" in told
    assert "did you mean 'model: {name: torchvision, architecture: resnet18}'?" in told
    words = ["config", "check", "mnist_cnn", "model={name: torchvision, architecture: resnet18}"]
    assert "torchvision on mnist" in shown(capsys, *words)
    assert "did you mean 'optimizer.learning_rate'?" in refused("config", "check", "mnist_cnn", "lr=1")
    assert "did you mean 'optimizer.learning_rate'?" in refused("config", "check", "mnist_cnn", "trainer.lr=1")


def test_list_and_describe_need_no_kind(capsys: Out) -> None:
    told = shown(capsys, "list")
    assert told.startswith("models:\n  ")
    assert "\ntasks:\n  " in told
    assert {row["kind"] for row in json.loads(shown(capsys, "list", "--json"))} >= {"model", "task", "observer"}
    assert shown(capsys, "describe", "cnn") == shown(capsys, "describe", "model", "cnn")
    assert json.loads(shown(capsys, "describe", "cnn", "--json"))["name"] == "cnn"
    assert "next: dltrain list models" in refused("describe", "models")
    assert "did you mean 'lenet'?" in refused("describe", "lennet")
    assert "it is a value of architecture of model 'torchvision'" in refused("describe", "resnet18")


def test_the_device_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from dltrain.runtime import precision

    cpu, mps = precision.AvailableDevice("cpu", "2 threads"), precision.AvailableDevice("mps", "Apple GPU")
    cuda = precision.AvailableDevice("cuda:1", "some GPU", 5, 9)
    for devices, expected in (([cuda, cpu], "cuda:1"), ([mps, cpu], "mps")):
        monkeypatch.setattr(precision, "list_devices", lambda devices=devices: devices)
        assert str(precision.choose_device("gpu").device) == expected
    monkeypatch.setattr(precision, "list_devices", lambda: [cpu])
    with pytest.raises(UsageError, match="this machine has no device 'gpu'\navailable:\n  cpu: 2 threads"):
        precision.choose_device("gpu")


@pytest.mark.slow
def test_predict_reads_a_text_in_quotes(capsys: Out, dltrain: Callable[..., object]) -> None:
    assert run_command(["fit", "text_classification", "-q", "--epochs", "1"]) == 0
    Path("line.txt").write_text("How do I open a file?\n")
    words = ["predict", "text_classification", "How do I open a file?", "line.txt", "words", "missing.txt"]
    with pytest.raises(DltrainError, match="1 file could not be read; the others are done"):
        run_command(words)
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["How do I open a file?", "line.txt:1", "words"]
    assert rows[0][1:] == rows[1][1:]
