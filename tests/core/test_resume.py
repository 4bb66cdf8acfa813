"""A run that was stopped or killed ends with the same bytes as one that never was."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from dltrain.errors import UsageError
from dltrain.runtime.interrupts import Interrupts
from support.files import lines
from support.runs import Recorded, SaveAlways, StopAt, outcome, run_once, run_to_end

Write = Callable[[Mapping[str, Any]], Path]


EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation": {"trainer": {"accumulate": 3, "epochs": 4}},
    "moving average": {"trainer": {"ema": 0.9}},
    "schedules": {"schedule": {"name": "one_cycle"}, "trainer": {"clip_norm": 0.5}},
    "plateau": {"schedule": {"name": "plateau", "patience": 0}, "trainer": {"epochs": 4}},
    "early stopping": {
        "trainer": {"epochs": 30, "patience": 2},
        "optimizer": {"name": "sgd", "learning_rate": 1e-5, "momentum": 0.9},
    },
    "evaluations within epochs": {
        "schedule": {"name": "plateau", "patience": 0},
        "trainer": {"validate_every_steps": 3, "max_steps": 34, "accumulate": 1, "patience": 9, "ema": 0.9},
    },
    "augmentation": {"data": {"augment": {"rotation_degrees": 20, "shift": 0.1, "erase": 0.5, "scale": [0.9, 1.1]}}},
    "augmentation by workers": {"data": {"augment": {"rotation_degrees": 20, "flip": "horizontal"}, "workers": 2}},
    "crops, colours, RandAugment and mixed images, by workers": {
        "data": {
            "augment": {
                "crop": [0.3, 1],
                "brightness": 0.4,
                "contrast": 0.4,
                "rand_augment": {"magnitude": None},
                "mixup": 0.4,
                "cutmix": 1,
                "mix_probability": 0.8,
            },
            "workers": 2,
        },
        "task": {"name": "image_classification", "label_smoothing": 0.1},
    },
    "bf16": {"trainer": {"precision": "bf16"}},
    "fp16 with its scaler": {"trainer": {"precision": "fp16"}, "model": {"name": "mlp", "hidden": [8]}},
    "batch normalisation": {"model": {"batch_norm": True}, "trainer": {"ema": 0.9}},
    "deterministic": {"trainer": {"deterministic": True}},
    "two threads": {"trainer": {"threads": 2}},
    "weights drawn anew, groups of them, and a frozen part": {
        "weights": {"initialization": "orthogonal", "learning_rates": {"classifier.*": 2.0}, "freeze": ["features.*"]},
        "optimizer": {"name": "adamw"},
        "model": {"batch_norm": True},
    },
    "label smoothing": {"task": {"name": "image_classification", "label_smoothing": 0.1}},
    "shards, batch normalisation and dropout": {
        "model": {"batch_norm": True, "dropout": 0.3},
        "trainer": {"shards": 4, "accumulate": 2, "ema": 0.9, "clip_norm": 0.5},
    },
}


def with_extras(settings: Mapping[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    tree = copy.deepcopy(dict(settings))
    for section, values in extras.items():
        if "name" in values and section in tree and (section != "task"):
            tree[section] = dict(values)
        elif isinstance(tree.get(section), dict):
            tree[section].update(values)
        else:
            tree[section] = dict(values)
    return tree


@pytest.mark.slow
@pytest.mark.parametrize("name", EXTRAS)
def test_stopped_and_killed_runs_end_with_the_same_bytes(
    name: str, settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    tree = with_extras(settings, EXTRAS[name])
    tree["trainer"]["checkpoint_every_steps"] = 4
    tree["trainer"]["keep_last"] = 9
    config = write_settings(tree)
    whole = run_once(config, tmp_path / "whole", Interrupts())
    # In the middle of an epoch; killed off any checkpoint's step; during the evaluation that ends an epoch; later.
    broken = run_to_end(config, tmp_path / "broken", [StopAt(3), StopAt(3, kill=True), StopAt(6), StopAt(9, kill=True)])
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert broken.state.history == whole.state.history


def test_the_best_ones_are_kept_also_after_a_stop(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    plan = {"epochs": 6, "keep_best": 3, "keep_last": 1, "checkpoint_every_epochs": 4}
    config = write_settings(with_extras(settings, {"trainer": plan}))
    whole = run_once(config, tmp_path / "whole", Interrupts())
    run_to_end(config, tmp_path / "broken", [StopAt(30), StopAt(40, kill=True), StopAt(55)])
    kept = [[path.name for path in sorted((tmp_path / run / "checkpoints").iterdir())] for run in ("whole", "broken")]
    best = whole.state.history.rank(whole.task.goal)[:3]
    steps = {whole.state.history[index]["step"] for index in [*best, 5]}
    assert kept[0] == [f"step-{step:08d}" for step in sorted(steps)]
    assert [name for name in kept[1] if not name.endswith("-mid")] == kept[0]
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


TEXTS: dict[str, dict[str, Any]] = {
    "random lengths and accumulation": {
        "model": {"name": "rnn", "cell": "rnn_tanh", "hidden": 8, "adaptive_cutoffs": [9]},
        "data": {"random_lengths": True},
        "trainer": {"accumulate": 2},
    },
    "averages of NT-ASGD": {
        "model": {"name": "awd_lstm", "embedding": 6, "hidden": 8, "layers": 2},
        "data": {"random_lengths": True},
        "optimizer": {"name": "sgd", "learning_rate": 30.0},
        "trainer": {"nt_asgd": 1, "epochs": 7, "clip_norm": 0.5},
    },
    "shards that carry a state each": {
        "model": {"name": "rnn", "cell": "lstm", "hidden": 8, "dropout": 0.2},
        "trainer": {"shards": 2, "clip_norm": 0.5},
    },
    "memory of a transformer": {
        "model": {"name": "transformer", "width": 8, "heads": 2, "layers": 2, "context": 12},
        "trainer": {"precision": "bf16"},
    },
}


@pytest.fixture
def text_settings(tmp_path: Path) -> dict[str, Any]:
    """A config that trains on 60 lines of random words: 18 windows of 10 tokens, or 15 batches of lines."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(20)]
    text = "".join(" ".join(draw.choices(words, k=draw.randint(4, 18))) + "\n" for _ in range(60))
    (tmp_path / "text.txt").write_text(text)
    return {
        "task": "language_modelling",
        "data": {
            "name": "text", "training": ["text.txt"], "root": str(tmp_path), "cache": str(tmp_path / "cache"),
            "batch_size": 4, "sequence_length": 10, "evaluation_batch_size": 2,
        },
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "trainer": {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 3, "checkpoint_every_steps": 4},
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_text_runs_end_with_the_same_bytes(
    name: str, text_settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    tree = with_extras(text_settings, {"model": {}, **TEXTS[name]})
    tree["trainer"]["keep_last"] = 9
    config = write_settings(tree)
    whole = run_once(config, tmp_path / "whole", Interrupts())
    if name == "averages of NT-ASGD":  # or this would test nothing: it begins, and not with the first epoch
        assert whole.state.averaging
        assert whole.state.average is not None
        assert 0 < whole.state.average.n_averaged < whole.state.step
    stops: list[Interrupts] = [StopAt(3), StopAt(3, kill=True), StopAt(11), StopAt(15, kill=True), StopAt(17)]
    run_to_end(config, tmp_path / "broken", stops)
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


AUGMENT = {
    "time_masks": 1, "time_mask_seconds": 0.1, "frequency_masks": 1, "frequency_mask_bands": 3,
    "tempo": [0.8, 1.0, 1.2], "warp": [0.9, 1.1], "quiet_seconds": 0.1, "gain_db": 6.0, "noise": 0.5,
}  # fmt: skip

SPEECH: dict[str, dict[str, Any]] = {
    "augmented, by seconds": {
        "data": {"augment": AUGMENT, "batch_seconds": 3, "max_seconds": 1.5, "workers": 1},
        "model": {"name": "crnn", "channels": [2], "hidden": 8, "layers": 2, "dropout": 0.2},
        "schedule": {"name": "one_cycle"},
    },
    "a conformer, accumulated and averaged": {
        "data": {"augment": AUGMENT, "batch_size": 3, "normalize": "speaker"},
        "model": {"name": "conformer_ctc", "width": 8, "heads": 2, "layers": 1, "dropout": 0.2},
        "trainer": {"accumulate": 2, "ema": 0.9},
    },
}


@pytest.fixture
def speech_settings(tmp_path: Path) -> dict[str, Any]:
    """A config that trains on 32 clips, of a second or less, of tones that stand for letters."""
    soundfile = pytest.importorskip("soundfile")
    draw = numpy.random.default_rng(0)
    time = numpy.arange(1200) / 8000
    rows = ["path\ttext\tspeaker"]
    for number in range(32):
        letters = draw.integers(0, 4, int(draw.integers(2, 7)))
        sound = numpy.concatenate([numpy.sin(2 * numpy.pi * 500 * (1 + letter) * time) for letter in letters])
        soundfile.write(tmp_path / f"{number}.wav", 0.3 * sound + 0.01 * draw.normal(size=len(sound)), 8000)
        rows.append(f"{number}.wav\t{''.join('abcd'[letter] for letter in letters)}\tspeaker{number % 8}")
    (tmp_path / "clips.tsv").write_text("\n".join(rows) + "\n")
    return {
        "task": "speech_recognition",
        "data": {
            "name": "audio", "root": str(tmp_path), "train": "clips.tsv", "validation": 0.25, "sample_rate_hz": 8000,
            "features": {"bands": 10}, "subsampling": 2,
        },
        "optimizer": {"name": "adam", "learning_rate": 1e-2},
        "trainer": {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 3, "checkpoint_every_steps": 2},
    }  # fmt: skip


def test_the_padding_share_is_reported(speech_settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    speech_settings["data"] |= {"validation": "clips.tsv", "batch_size": 32}
    speech_settings["model"] = {"name": "crnn", "channels": [2], "hidden": 8}
    speech_settings["trainer"]["epochs"] = 1
    messages = Recorded()
    run_once(write_settings(speech_settings), tmp_path / "run", Interrupts(), messenger=messages)
    words = [line.split("\t")[1] for line in (tmp_path / "clips.tsv").read_text().splitlines()[1:]]
    frames = [1 + 1200 * len(word) // 80 for word in words]  # a window every 10 ms
    share = 1 - sum(frames) / (32 * max(frames))
    assert f"batches: 1 per epoch; {share:.1%} of the first epoch's is padding" in messages.lines


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEECH)
def test_speech_runs_end_with_the_same_bytes(
    name: str, speech_settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    tree = copy.deepcopy(speech_settings)
    for section, values in SPEECH[name].items():
        tree[section] = {**tree.get(section, {}), **values}
    tree["trainer"]["keep_last"] = 9
    config = write_settings(tree)
    whole = run_once(config, tmp_path / "whole", Interrupts())
    assert whole.state.step >= 9
    run_to_end(config, tmp_path / "broken", [StopAt(3), StopAt(1, kill=True), StopAt(3), StopAt(4, kill=True)])
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


def test_stopped_during_evaluation(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["data"]["evaluation_batch_size"] = 2
    config = write_settings(settings)
    run_once(config, tmp_path / "whole", Interrupts())
    # 20 updates make an epoch: the stop comes with the third batch of the evaluation, and again in the second try.
    run_to_end(config, tmp_path / "broken", [StopAt(23), StopAt(2), StopAt(4, kill=True)])
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    assert (tmp_path / "broken" / "checkpoints" / "step-00000040").is_dir()


def test_stopped_during_an_evaluation_within_an_epoch(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    settings["data"]["evaluation_batch_size"] = 2
    settings["trainer"] |= {"validate_every_steps": 7, "max_steps": 30}
    config = write_settings(settings)
    run_once(config, tmp_path / "whole", Interrupts())
    # After 7 updates the stop comes with the third batch of the evaluation; again in its second try; later, a kill.
    run_to_end(config, tmp_path / "broken", [StopAt(10), StopAt(2), StopAt(60, kill=True)])
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")
    measured = [entry for entry in lines(tmp_path / "broken" / "metrics.jsonl") if entry["event"] == "epoch"]
    assert [(entry["epoch"], entry["step"]) for entry in measured] == [
        (0.35, 7), (0.7, 14), (1, 20), (1.05, 21), (1.4, 28), (1.5, 30)
    ]  # fmt: skip


def test_more_steps_give_the_weights_of_a_run_that_was_not_cut_short(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    settings["trainer"]["max_steps"] = 27
    run_once(write_settings(settings), tmp_path / "extended", Interrupts())
    settings["trainer"]["max_steps"] = None
    config = write_settings(settings)
    run_once(config, tmp_path / "extended", Interrupts())
    run_once(config, tmp_path / "whole", Interrupts())
    assert outcome(tmp_path / "extended")["weights.safetensors"] == outcome(tmp_path / "whole")["weights.safetensors"]
    settings["trainer"]["max_steps"] = 9
    with pytest.raises(UsageError, match=r"trainer\.max_steps"):
        run_once(write_settings(settings), tmp_path / "extended", Interrupts())


def test_workers_change_nothing(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["data"]["augment"] = {"rotation_degrees": 20, "scale": [0.8, 1.2], "erase": 0.3}
    run_once(write_settings(settings), tmp_path / "none", Interrupts())
    settings["data"]["workers"] = 2
    run_once(write_settings(settings), tmp_path / "two", Interrupts())
    none, two = outcome(tmp_path / "none"), outcome(tmp_path / "two")
    for name in ("weights.safetensors", "optimizer.safetensors", "metrics.jsonl"):
        assert none[name] == two[name]


def test_more_epochs_extend_a_finished_run(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    config = write_settings(settings)
    run_once(config, tmp_path / "extended", Interrupts())
    settings["trainer"]["epochs"] = 4
    config = write_settings(settings)
    run_once(config, tmp_path / "extended", Interrupts())
    run_once(config, tmp_path / "whole", Interrupts())
    extended, whole = outcome(tmp_path / "extended"), outcome(tmp_path / "whole")
    assert extended == whole


def test_a_second_seed_gives_other_weights(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    run_once(write_settings(settings), tmp_path / "zero", Interrupts())
    settings["seed"] = 1
    run_once(write_settings(settings), tmp_path / "one", Interrupts())
    name = "weights.safetensors"
    assert outcome(tmp_path / "zero")[name] != outcome(tmp_path / "one")[name]


@pytest.mark.slow
@pytest.mark.parametrize("line", ["epoch 1/3", "epoch 2/3"])
def test_sigkill_of_a_real_process(
    line: str, settings: dict[str, Any], write_settings: Write, dltrain_process: Callable[..., Any], tmp_path: Path
) -> None:
    settings["trainer"].update(epochs=3, checkpoint_every_steps=2)
    config = write_settings(settings)
    assert dltrain_process("fit", config, "-o", "whole", "-q").returncode == 0
    words = [sys.executable, "-m", "dltrain", "fit", str(config), "-o", "broken"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for told in process.stderr:
            if told.startswith(line):
                process.send_signal(signal.SIGKILL)
                break
        process.stderr.read()
    assert process.returncode == -signal.SIGKILL
    again = dltrain_process("fit", config, "-o", "broken")
    assert again.returncode == 0
    assert again.stderr.startswith("resuming broken at step ")
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("name", EXTRAS)
def test_checkpoints_that_are_asked_for_change_nothing(
    name: str, settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    config = write_settings(with_extras(settings, EXTRAS[name]))
    run_once(config, tmp_path / "whole", Interrupts())
    messages = Recorded()
    run_once(config, tmp_path / "saved", SaveAlways(), messenger=messages)
    assert outcome(tmp_path / "saved") == outcome(tmp_path / "whole")
    assert f"SIGUSR1: saved {tmp_path / 'saved'}/checkpoints/step-00000001-mid" in messages.lines


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_stop_at_a_step_border(
    number: signal.Signals, code: int, settings: dict[str, Any], write_settings: Write, tmp_path: Path,
    dltrain_process: Callable[..., Any],
) -> None:  # fmt: skip
    settings["trainer"].update(epochs=500)
    config = write_settings(settings)
    words = [sys.executable, "-m", "dltrain", "fit", str(config), "-o", "stopped"]
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = ""
        for told in process.stderr:
            if told.startswith("epoch   2/"):
                process.send_signal(number)
                break
        told = process.stderr.read()
    assert process.returncode == code
    advice = "rerun the same command to resume from the checkpoint in stopped"
    assert f"error: stopped by {number.name}\nnext: {advice}\n" in told
    assert "Traceback" not in told
    again = dltrain_process("fit", config, "-o", "stopped", "--max-time", "0s")
    assert again.returncode == 75
    assert again.stderr.startswith("resuming stopped at step ")
    assert "stopped: the time given by --max-time is spent" in again.stderr


HUP, TERM, INT = signal.SIGHUP, signal.SIGTERM, signal.SIGINT


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ([TERM, TERM], 143),
        ([TERM, INT], 130),
        ([INT, HUP, TERM], 143),
        ([HUP, HUP], 0),
        ([TERM, HUP], 0),  # systemd's SendSIGHUP
        ([HUP, TERM], 0),  # the end of a session
        ([HUP, TERM, TERM], 143),
    ],
)
def test_a_second_signal_leaves_at_once_unless_it_is_that_of_a_closed_terminal(
    sent: list[signal.Signals], code: int
) -> None:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
        interrupts = Interrupts()
        interrupts.training = True
        with interrupts:
            for number in sent:
                os.kill(os.getpid(), number)
            reason = interrupts.pending()
            os._exit(0 if reason is not None and reason.exit_code == 128 + sent[0] else 99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code


def start_until(line: str, *words: object, cwd: Path, ignored: Sequence[signal.Signals] = ()) -> subprocess.Popen[str]:
    """A process of dltrain that has just written such a line to stderr. SIGHUP has its default unless `ignored`."""

    def set_signals() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    command = [sys.executable, "-m", "dltrain", *map(str, words)]
    process = subprocess.Popen(command, cwd=cwd, stderr=subprocess.PIPE, text=True, preexec_fn=set_signals)
    assert process.stderr is not None
    assert any(found.startswith(line) for found in process.stderr)
    return process


@pytest.mark.slow
def test_sigusr1_saves_and_training_continues_to_the_same_end(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    settings["trainer"].update(epochs=30)
    config = write_settings(settings)
    run_once(config, tmp_path / "whole", Interrupts())
    with start_until("epoch  2/", "fit", config, "-o", "saved", cwd=tmp_path) as process:
        process.send_signal(signal.SIGUSR1)
        assert process.stderr is not None
        rest = process.stderr.read()
    assert process.returncode == 0
    assert rest.count("SIGUSR1: saved saved/checkpoints/step-") == 1
    assert outcome(tmp_path / "saved") == outcome(tmp_path / "whole")


@pytest.mark.slow
def test_sighup_stays_ignored_under_nohup(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["trainer"].update(epochs=30)
    config = write_settings(settings)
    with start_until("epoch  2/", "fit", config, "-o", "run", cwd=tmp_path, ignored=[signal.SIGHUP]) as process:
        process.send_signal(signal.SIGHUP)
    assert process.returncode == 0


@pytest.mark.slow
def test_a_closed_terminal_stops_training_with_a_checkpoint(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    settings["trainer"].update(epochs=5000)
    config = write_settings(settings)
    process, terminal = os.forkpty()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.chdir(tmp_path)
        os.execv(sys.executable, [sys.executable, "-m", "dltrain", "fit", str(config), "-o", "run"])
    shown = b""
    while b"epoch    1/5000  loss" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)  # the kernel sends SIGHUP, and every output gives EIO from here on
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 129
    saved = list((tmp_path / "run" / "checkpoints").glob("step-*-mid"))
    assert saved
    assert outcome_of_environment(tmp_path / "run") == 129


def outcome_of_environment(directory: Path) -> int:
    """The exit code that the last process recorded."""
    records = json.loads((directory / "environment.json").read_text())
    code: int = records[-1]["ended"]["exit_code"]
    return code


def test_metrics_hold_every_interval_and_epoch_once(
    settings: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    run_to_end(write_settings(settings), tmp_path / "run", [StopAt(5), StopAt(17)])
    found = [(entry["event"], entry.get("step")) for entry in lines(tmp_path / "run" / "metrics.jsonl")]
    expected = [("run", None)]
    for step in range(1, 41):
        expected += [("step", step)] * (step % 3 == 0) + [("epoch", step)] * (step % 20 == 0)
    assert found == expected
