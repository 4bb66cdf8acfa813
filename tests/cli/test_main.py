"""The commands as people, scripts and cron use them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sklearn_metrics

from dltrain.cli.eval import parse_requirement
from dltrain.cli.shared.options import parse_seconds
from dltrain.errors import DataError, Diverged, NoCheckpoint, RequirementNotMet, RunBusy, UsageError
from dltrain.runs.lock import Lock
from support.commands import call, good, train_bars
from support.files import lines
from support.images import patterns

Write = Callable[[Mapping[str, Any]], Path]
Process = subprocess.CompletedProcess


def width(picture: Path) -> int:
    with Image.open(picture) as image:
        return image.size[0]


@pytest.fixture(scope="module")
def run(images_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a model that tells the patterns apart."""
    return train_bars(tmp_path_factory.mktemp("finished"), images_root, model="{name: mlp, hidden: [32]}", epochs=6)


@pytest.mark.slow
def test_a_run_directory_holds_what_the_readme_says(run: Path) -> None:
    assert {path.name for path in run.iterdir()} >= {
        "config.yaml", "environment.json", "metrics.jsonl", "times.jsonl", "checkpoints", "best", "last",
        "report.html", "plots", "lock",
    }  # fmt: skip
    environment = json.loads((run / "environment.json").read_text())[0]
    assert environment["dataset"]["name"] == "mnist"
    assert environment["versions"]["torch"]
    assert environment["seed"] == 0
    assert width(run / "plots" / "training.png") > 300
    assert "mlp on mnist, seed 0" in (run / "report.html").read_text()
    assert [entry["epoch"] for entry in lines(run / "times.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert sorted(path.name for path in (run / "best").iterdir()) == [
        "manifest.json", "optimizer.safetensors", "state.json", "weights.safetensors",
    ]  # fmt: skip


def test_eval_agrees_with_scikit_learn(run: Path) -> None:
    result = json.loads(good("eval", run, "--json").stdout)
    confusion = np.array(result["confusion"])
    truth = np.repeat(np.arange(10), confusion.sum(1))
    predicted = np.concatenate([np.repeat(np.arange(10), row) for row in confusion])
    metrics = result["metrics"]
    assert len(truth) == 60
    assert metrics["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, predicted), abs=1e-12)
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(truth, predicted, zero_division=0)
    for label in range(10):
        found = result["classes"][str(label)]
        expected = {"precision": precision[label], "recall": recall[label], "f1": f1[label], "examples": support[label]}
        assert found == pytest.approx(expected, abs=1e-12)
    assert metrics["macro_f1"] == pytest.approx(f1.mean(), abs=1e-12)
    assert metrics["macro_precision"] == pytest.approx(precision.mean(), abs=1e-12)
    assert metrics["macro_recall"] == pytest.approx(recall.mean(), abs=1e-12)


def test_validation_metrics_of_the_log_are_those_of_eval(run: Path) -> None:
    logged = [entry for entry in lines(run / "metrics.jsonl") if entry["event"] == "epoch"][-1]
    found = json.loads(good("eval", run, "--json", "--split", "validation", "--checkpoint", "last").stdout)
    assert found["metrics"]["accuracy"] == logged["validation_accuracy"]
    assert found["metrics"]["loss"] == pytest.approx(logged["validation_loss"], rel=1e-12)
    assert sum(map(sum, found["confusion"])) == 40


def test_eval_prints_tables_draws_a_picture_and_keeps_a_record(run: Path) -> None:
    before = len(lines(run / "evaluations.jsonl")) if (run / "evaluations.jsonl").exists() else 0
    told = good("eval", run).stdout
    assert "test split of mnist, checkpoint step-" in told
    assert "class  precision  recall      f1  examples" in told
    assert "confusion matrix (rows: true, columns: predicted)" in told
    assert width(run / "plots" / "confusion-test.png") > 300
    kept = lines(run / "evaluations.jsonl")
    assert len(kept) == before + 1
    assert (kept[-1]["split"], kept[-1]["dataset"], kept[-1]["seed"]) == ("test", "mnist", 0)


def test_a_checkpoint_alone_is_enough(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "best", tmp_path / "step-00000001", symlinks=False)
    alone = tmp_path / Path((run / "best").resolve().name)
    (tmp_path / "step-00000001").rename(alone)
    ours = json.loads(good("eval", alone, "--json").stdout)
    assert ours["metrics"] == json.loads(good("eval", run, "--json").stdout)["metrics"]
    assert not (alone / "evaluations.jsonl").exists()


def test_require_decides_the_exit_code(run: Path) -> None:
    good("eval", run, "--require", "accuracy>=0.5", "--require", "loss<100")
    missed = call("eval", run, "--require", "accuracy>=0.5", "--require", "loss<0")
    assert isinstance(missed.exception, RequirementNotMet)
    assert missed.exception.exit_code == 6
    assert "on the test split of mnist: not met: loss<0 (found " in str(missed.exception)
    unknown = call("eval", run, "--require", "acuracy>=0.5")
    assert isinstance(unknown.exception, UsageError)
    assert "unknown metric 'acuracy'; available: accuracy, loss, macro_precision" in str(unknown.exception)


@pytest.mark.parametrize("text", ["accuracy", "accuracy>=", ">=1", "accuracy=>1", "accuracy>=1e", "a b>1"])
def test_requirements_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match="allowed is METRIC>=NUMBER"):
        parse_requirement(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1h30m", 5400), (None, None)]
)
def test_durations(text: str | None, expected: float | None) -> None:
    assert parse_seconds(text) == expected


@pytest.mark.parametrize("text", ["", "h", "2 hours", "-3s", "1h x"])
def test_durations_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match="allowed is a duration such as 90s, 30m, 2h or 1h30m"):
        parse_seconds(text)


def test_a_second_fit_says_finished_without_importing_torch(run: Path) -> None:
    words = ["fit", str(run)]
    program = (
        f"import sys; from dltrain.cli.main import main; sys.argv = ['dltrain', *{words!r}]\n"
        "try: main()\nexcept SystemExit as left: assert not left.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"finished: {run} (all 6 epochs done); nothing to do\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["config", "check", "CONFIG"], ["fit", "--help"], ["eval", "--help"], ["list", "models"]]
)
def test_torch_is_not_imported(words: list[str], settings: dict[str, Any], write_settings: Write) -> None:
    config = write_settings(settings)
    words = [str(config) if word == "CONFIG" else word for word in words]
    program = (
        f"import sys; from dltrain.cli.main import main; sys.argv = ['dltrain', *{words!r}]\n"
        "try: main()\nexcept SystemExit as left: assert not left.code\n"
        "assert not {'torch', 'numpy', 'sklearn', 'matplotlib'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_predict_labels_files_folders_and_lists(run: Path, tmp_path: Path) -> None:
    images, labels = patterns(20, seed=5)
    folder = tmp_path / "pictures" / "inside"
    folder.mkdir(parents=True)
    for index, image in enumerate(images[:10]):
        Image.fromarray(image).save(folder / f"{index}.png")
    told = good("predict", run, tmp_path / "pictures").stdout.splitlines()
    assert [line.split("\t")[:2] for line in told] == [[f"{folder}/{i}.png", str(labels[i])] for i in range(10)]
    listed = "\n".join(f"{folder}/{index}.png" for index in (3, 1))
    found = [
        json.loads(line) for line in good("predict", run, "-", "--json", "--top", 3, stdin=listed).stdout.splitlines()
    ]
    assert [entry["labels"][0]["label"] for entry in found] == ["3", "1"]
    assert [len(entry["labels"]) for entry in found] == [3, 3]
    chances = [label["probability"] for label in found[0]["labels"]]
    assert chances == sorted(chances, reverse=True)


def test_predict_turns_dark_on_bright_and_larger_colour_pictures(run: Path, tmp_path: Path) -> None:
    images, labels = patterns(10, seed=6)
    for index in range(10):
        paper = Image.fromarray(255 - images[index]).resize((140, 140)).convert("RGB")
        paper.save(tmp_path / f"{index}.jpg", quality=95)
    result = good("predict", run, *(tmp_path / f"{index}.jpg" for index in range(10)))
    assert [line.split("\t")[1] for line in result.stdout.splitlines()] == [str(label) for label in labels]
    assert "note: 10 of 10 images were inverted (--invert no leaves them)" in result.stderr


def test_predict_names_what_it_cannot_read_and_does_the_rest(run: Path, tmp_path: Path) -> None:
    images, _ = patterns(1, seed=7)
    Image.fromarray(images[0]).save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:200])
    (tmp_path / "text.png").write_text("not a picture")
    result = call("predict", run, *(tmp_path / name for name in ("cut.png", "good.png", "text.png", "none.png")))
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "3 of 4 images could not be read; the others are done"
    assert result.stdout.startswith(f"{tmp_path}/good.png\t0\t")
    assert f"error: {tmp_path}/text.png: not an image that can be read; allowed are PNG and JPEG files" in result.stderr
    assert f"error: {tmp_path}/none.png: cannot be read: No such file or directory" in result.stderr
    assert f"error: {tmp_path}/cut.png: " in result.stderr
    (tmp_path / "empty").mkdir()
    nothing = call("predict", run, tmp_path / "empty")
    assert "empty: no image file in it" in str(nothing.exception)


def test_commands_on_what_is_no_run(run: Path, tmp_path: Path) -> None:
    for words in (["eval", tmp_path / "nothing"], ["predict", tmp_path / "nothing", "x.png"]):
        result = call(*words)
        assert isinstance(result.exception, NoCheckpoint)
        assert "no run directory with checkpoints\nruns beside it: none" in str(result.exception)
    beside = call("eval", run.parent / "rum")
    assert f"runs beside it:\n  {run}\n" in str(beside.exception)
    result = call("eval", run, "--checkpoint", "step-00000001")
    assert "no checkpoint 'step-00000001' that can be used\navailable:\n  step-" in str(result.exception)


def test_eval_elsewhere_and_without_its_data(run: Path, images_root: Path, tmp_path: Path) -> None:
    shutil.copytree(images_root, tmp_path / "moved")
    good("eval", run, "--root", tmp_path / "moved")
    missing = call("eval", run, "--root", tmp_path / "nowhere")
    assert isinstance(missing.exception, DataError)
    absent = call("eval", run, "--device", "cuda:7")
    assert isinstance(absent.exception, UsageError)
    assert "this machine has no device 'cuda:7'\navailable:\n" in str(absent.exception)


@pytest.mark.slow
def test_the_sample_names_itself_everywhere(write_settings: Write, settings: dict[str, Any], tmp_path: Path) -> None:
    name = "digits sample (scikit-learn, not MNIST)"
    settings["data"] = {"name": "mnist", "batch_size": 100}
    settings["trainer"]["epochs"] = 1
    config = write_settings(settings)
    run = tmp_path / "run"
    fitted = good("fit", config, "--sample", "-o", run)
    assert "warning: NOT MNIST" in fitted.stderr
    assert name in fitted.stdout
    evaluated = good("eval", run)
    assert name in evaluated.stdout
    assert "warning: NOT MNIST" in evaluated.stderr
    assert json.loads((run / "environment.json").read_text())[0]["dataset"]["name"] == name
    assert json.loads((run / "best" / "manifest.json").read_text())["dataset"] == name
    assert all(entry["dataset"] == name for entry in lines(run / "metrics.jsonl") if entry["event"] != "step")
    assert "NOT MNIST" in (run / "report.html").read_text()
    assert lines(run / "evaluations.jsonl")[0]["dataset"] == name


def test_divergence_keeps_the_last_good_checkpoint(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["optimizer"] = {"name": "sgd", "learning_rate": 1e30}
    settings["model"] = {"name": "mlp", "hidden": [8]}
    settings["trainer"]["checkpoint_every_steps"] = 1
    result = call("fit", write_settings(settings), "-o", tmp_path / "run")
    assert isinstance(result.exception, Diverged)
    assert result.exception.exit_code == 4
    last = max((tmp_path / "run" / "checkpoints").iterdir()).name
    told = f"is not finite; the last checkpoint is kept ({last})\nnext: lower optimizer.learning_rate"
    assert told in str(result.exception)
    again = call("fit", write_settings(settings), "-o", tmp_path / "run")
    assert again.stderr.startswith(f"resuming {tmp_path}/run at step ")


def test_divergence_before_the_first_checkpoint_says_so(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["optimizer"] = {"name": "sgd", "learning_rate": 1e30}
    result = call("fit", write_settings(settings), "-o", tmp_path / "run")
    assert isinstance(result.exception, Diverged)
    assert "is not finite; no checkpoint was written before\nnext: lower optimizer" in str(result.exception)


def test_options_that_do_not_go_together_name_their_section(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["optimizer"] = {"name": "sgd", "nesterov": True}
    result = call("fit", write_settings(settings), "-o", tmp_path / "run")
    assert isinstance(result.exception, UsageError)
    assert str(result.exception).startswith("optimizer 'sgd': Nesterov momentum requires a momentum")


@pytest.mark.slow
def test_a_continuation_that_cannot_be_exact_is_refused(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["schedule"] = {"name": "cosine"}
    run = tmp_path / "run"
    good("fit", write_settings(settings), "-o", run)
    settings["trainer"]["epochs"] = 3
    config = write_settings(settings)
    refused = call("fit", config, "-o", run)
    assert isinstance(refused.exception, UsageError)
    assert (
        "would not give the same result as an uninterrupted run:\n  the schedule 'cosine' was planned for 2 epochs"
        in str(refused.exception)
    )
    allowed = good("fit", config, "-o", run, "--inexact")
    assert "warning: not exact: the schedule 'cosine' was planned for 2 epochs" in allowed.stderr


def test_changed_data_are_refused(
    write_settings: Write, settings: dict[str, Any], images_root: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(images_root, data)
    settings["data"]["root"] = str(data)
    config, run = write_settings(settings), tmp_path / "run"
    stopped = call("fit", config, "-o", run, "--max-time", "0s")
    assert stopped.exception is not None
    labels = data / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    content = bytearray(labels.read_bytes())
    content[8], content[9] = content[9], content[8]
    labels.write_bytes(content)
    changed = call("fit", config, "-o", run)
    assert "the data has changed: train-labels-idx1-ubyte" in str(changed.exception)


@pytest.mark.slow
def test_cron_hears_nothing_or_json(write_settings: Write, settings: dict[str, Any], tmp_path: Path) -> None:
    config = write_settings(settings)
    quiet = good("fit", config, "-o", tmp_path / "quiet", "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    logged = good("fit", config, "-o", tmp_path / "json", "--json-logs")
    events = [json.loads(line)["event"] for line in logged.stderr.splitlines()]
    assert events[:4] == ["note", "note", "data", "EpochStarted"]
    assert events[-1] == "Finished"
    assert isinstance(json.loads(logged.stdout)["best_epoch"], int)


@pytest.mark.slow
def test_a_plugin_trains_resumes_and_travels_with_its_run(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    plugin = tmp_path / "my_model.py"
    plugin.write_text(
        '''
from torch import nn
from dltrain.options import PositiveInt
from dltrain.registry import models

@models.register("mine")
class Mine(nn.Module):
    """One dense layer between two others.

    Options:
        units: of the layer.
    """
    def __init__(self, image_channels: int, height: int, width: int, classes: int, *, units: PositiveInt = 5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(height * width, units), nn.Linear(units, classes))

    def forward(self, images):
        return self.layers(images)
'''
    )
    settings["plugins"] = ["my_model.py"]
    settings["model"] = {"name": "mine", "units": 6}
    config, run = write_settings(settings), tmp_path / "run"
    good("fit", config, "-o", run)
    plugin.unlink()
    good("eval", run)
    again = good("fit", run)
    assert again.stderr.startswith("finished: ")
    (run / "plugins" / "my_model.py").write_text("1 / 0\n" + (run / "plugins" / "my_model.py").read_text())
    config.write_text(config.read_text().replace("my_model.py", str(run / "plugins" / "my_model.py")))
    broken = call("fit", config, "-o", tmp_path / "other")
    assert "the plug-in cannot be imported: ZeroDivisionError: division by zero" in str(broken.exception)


@pytest.mark.slow
def test_errors_are_one_message_and_debug_shows_where(
    dltrain_process: Callable[..., Process[str]], tmp_path: Path
) -> None:
    plain = dltrain_process("eval", "nothing")
    assert plain.returncode == 7
    assert plain.stderr.startswith("error: nothing: no run directory with checkpoints")
    assert "Traceback" not in plain.stderr
    debug = dltrain_process("eval", "nothing", "--debug")
    assert "Traceback" in debug.stderr
    wrong = dltrain_process("fit", "no.yaml")
    assert wrong.returncode == 2
    assert not (tmp_path / "runs").exists()
    assert dltrain_process("--version").stdout.startswith("dltrain ")
    assert dltrain_process("fit").returncode == 2


@pytest.mark.slow
def test_a_lost_listener_does_not_end_training(write_settings: Write, settings: dict[str, Any], tmp_path: Path) -> None:
    settings["trainer"]["epochs"] = 30
    words = [sys.executable, "-m", "dltrain", "fit", str(write_settings(settings)), "-o", str(tmp_path / "run")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
    assert process.returncode == 0
    assert lines(tmp_path / "run" / "times.jsonl")[-1]["epoch"] == 30
    assert (tmp_path / "run" / "report.html").exists()


def test_a_report_that_a_kill_prevented_is_written_by_the_next_fit(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "plots")
    (tmp_path / "run" / "report.html").unlink()
    assert "best checkpoint" in good("fit", tmp_path / "run").stdout
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "plots" / "training.png").exists()
    assert good("fit", tmp_path / "run").stdout == ""
    assert json.loads(good("fit", tmp_path / "run", "--json-logs").stdout)["data"] == "mnist"


def test_an_early_failure_leaves_a_directory_that_can_be_used(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    config = write_settings(settings)
    missing = call("fit", config, "-o", tmp_path / "run", "--set", f"data.root={tmp_path}/none")
    assert isinstance(missing.exception, DataError)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    pattern = call("fit", config, "-o", tmp_path / "run", "--set", "weights.freeze=[nothing.*]")
    assert isinstance(pattern.exception, UsageError)
    assert list((tmp_path / "run").iterdir()) == []  # the directory is somebody else's
    good("fit", config, "-o", tmp_path / "run")


@pytest.mark.slow
def test_quiet_warns_of_a_sample_all_the_same(write_settings: Write, settings: dict[str, Any], tmp_path: Path) -> None:
    settings["data"] = {"name": "mnist", "batch_size": 500, "sample": True}
    settings["trainer"]["epochs"] = 1
    config = write_settings(settings)
    assert good("fit", config, "-q", "-o", tmp_path / "quiet").stderr.startswith("warning: NOT MNIST")
    told = good("fit", config, "--json-logs", "-o", tmp_path / "json").stderr.splitlines()
    assert any(entry["event"] == "warning" and "NOT MNIST" in entry["text"] for entry in map(json.loads, told))


@pytest.mark.slow
def test_right_answers_among_the_worst_are_not_called_confusions(run: Path) -> None:
    result = good("eval", run, "--worst", 60, "--json")
    worst = json.loads(result.stdout)["worst_examples"]
    told = [line for line in good("eval", run, "--worst", 60).stdout.splitlines() if line.startswith("worst ")]
    right = [one["truth"] == one["predicted"] for one in worst]
    assert any(right)
    assert [line.endswith(") rightly recognised") for line in told] == right
    assert ["taken for" not in line for line in told] == right


def test_scores_that_nobody_gives_are_not_waited_for(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["data"]["validation"] = 0
    config = write_settings(settings)
    for setting in ("trainer.patience=1", "schedule=plateau"):
        refused = call("fit", config, "--set", setting, "-o", tmp_path / "run")
        assert isinstance(refused.exception, UsageError)
        assert "depends on validation scores, but the validation split is empty" in str(refused.exception)
    good("fit", config, "-o", tmp_path / "run")
    empty = call("eval", tmp_path / "run", "--split", "validation")
    assert isinstance(empty.exception, UsageError)
    assert "the split to evaluate on is empty (data.validation: 0.0)\nnext: use --split test" in str(empty.exception)


def test_batch_normalisation_and_single_examples(
    write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["model"]["batch_norm"] = True
    settings["data"]["batch_size"] = 179  # 180 training images leave one over
    good("fit", write_settings(settings), "-o", tmp_path / "run")
    settings["data"]["batch_size"] = 1
    settings["model"] = {"name": "mlp", "batch_norm": True}
    refused = call("fit", write_settings(settings), "-o", tmp_path / "one")
    assert isinstance(refused.exception, UsageError)
    assert "batch normalisation cannot learn from a batch of one example" in str(refused.exception)


def test_a_checkpoint_may_be_renamed_and_is_named_once(run: Path, tmp_path: Path) -> None:
    shutil.copytree((run / "best").resolve(), tmp_path / "my-model")
    good("eval", tmp_path / "my-model")
    twice = call("eval", tmp_path / "my-model", "--checkpoint", "last")
    assert "is one checkpoint itself; leave out --checkpoint last" in str(twice.exception)
    (tmp_path / "my-model" / "state.json").write_text("{}")
    harmed = call("eval", tmp_path / "my-model")
    assert "my-model: damaged: state.json: 2 bytes, written with" in str(harmed.exception)


def test_a_checkpoint_that_training_deletes_meanwhile_is_chosen_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dltrain.core.checkpoint import Checkpoints
    from dltrain.runs.finding import find_checkpoint

    shutil.copytree(run, tmp_path / "run", symlinks=True)
    real, calls = Checkpoints.named, []

    def pruned_at_first(self: Checkpoints, name: str) -> Any:
        chosen = real(self, name)
        calls.append(chosen.name)
        if len(calls) == 1:
            shutil.rmtree(chosen.path)
        return chosen

    monkeypatch.setattr(Checkpoints, "named", pruned_at_first)
    assert find_checkpoint(tmp_path / "run").name == calls[1] != calls[0]
    monkeypatch.setattr(Checkpoints, "named", lambda self, name: _gone(real(self, name)))
    with pytest.raises(NoCheckpoint, match="change faster than they can be read"):
        find_checkpoint(tmp_path / "run")


def _gone(checkpoint: Any) -> Any:
    return type(checkpoint)(checkpoint.path.with_name("step-99999999"), 99999999, evaluated=True)


def test_numbers_are_told_where_they_cannot_be_kept(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", symlinks=True)
    shutil.rmtree(tmp_path / "run" / "plots")
    (tmp_path / "run" / "plots").write_text("in the way")
    told = good("eval", tmp_path / "run")
    assert "accuracy" in told.stdout
    assert "warning: not kept: " in told.stderr


def test_errors_that_nobody_foresaw_say_where_and_what_next() -> None:
    from dltrain.cli.main import to_dltrain_error

    try:
        raise KeyError("units")
    except KeyError as error:
        fault = to_dltrain_error(error)
    assert fault.exit_code == 1
    assert fault.message.startswith(f"KeyError in {__file__}:")
    assert fault.advice == "rerun with --debug for the full traceback"
    denied = to_dltrain_error(PermissionError(13, "Permission denied", "runs/x"))
    assert (denied.message, denied.exit_code) == ("runs/x: Permission denied", 3)
    assert denied.advice == "free some disk space, or change the permissions or the location"


@pytest.mark.slow
def test_machines_get_an_error_as_one_json_object(
    dltrain_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    result = dltrain_process("eval", "nowhere", "--json")
    assert result.returncode == 7
    assert result.stdout == ""
    event = json.loads(result.stderr)
    assert (event["event"], event["exit_code"]) == ("error", 7)
    assert event["message"].startswith("nowhere: ")
    assert event["advice"]


def test_predict_without_any_image(run: Path) -> None:
    nothing = call("predict", run, "-", stdin="")
    assert "no images given, on the command line or on standard input" in str(nothing.exception)


def run_unread(*words: object, both: bool = False) -> tuple[int, str]:
    """The exit code of a command whose reader closes stdout (or `both` streams) at once, and its stderr."""
    command = [sys.executable, "-m", "dltrain", *map(str, words)]
    reading = subprocess.STDOUT if both else subprocess.PIPE
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=reading, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        errors = "" if process.stderr is None else process.stderr.read()
    return process.returncode, errors


def test_a_closed_pipe_is_no_error() -> None:
    assert run_unread("list", "models") == (0, "")
    assert run_unread("config", "schema") == (0, "")  # more than a pipe holds
    assert run_unread("--help") == (0, "")


@pytest.mark.slow
def test_the_exit_code_survives_a_closed_pipe(run: Path, tmp_path: Path) -> None:
    assert run_unread("eval", run) == (0, "")
    before = len(lines(run / "evaluations.jsonl"))
    code, errors = run_unread("eval", run, "--require", "accuracy>=1.01")
    assert code == 6
    assert "not met: accuracy>=1.01" in errors
    assert len(lines(run / "evaluations.jsonl")) == before + 1
    assert run_unread("eval", run, "--require", "accuracy>=1.01", both=True)[0] == 6
    assert run_unread("predict", run, tmp_path / "missing.png", both=True)[0] == 3
    assert run_unread("data", "check", "mnist", "--root", tmp_path)[0] == 3
    assert run_unread("config", "check", tmp_path / "missing.yaml", both=True)[0] == 2
    assert run_unread("eval", tmp_path / "nowhere", "--json", both=True)[0] == 7
    assert run_unread("fit", run, "--set", "trainer.epochs=7", both=True)[0] == 0
    assert "nothing to do" in run_unread("fit", run)[1]


def test_a_busy_directory_is_refused(
    run: Path, write_settings: Write, settings: dict[str, Any], tmp_path: Path
) -> None:

    (tmp_path / "busy").mkdir()
    lock = Lock(tmp_path / "busy")
    result = call("fit", write_settings(settings), "-o", tmp_path / "busy")
    assert isinstance(result.exception, RunBusy)
    lock.release()


def test_devices_lists_the_cpu_and_what_auto_means() -> None:
    assert "cpu" in good("devices").stdout
    listed = json.loads(good("devices", "--json").stdout)
    assert [device["auto"] for device in listed].count(True) == 1
    assert listed[-1]["name"] == "cpu"
