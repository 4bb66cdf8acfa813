"""`dltrain.fit`: the same runs as `dltrain fit`, from a notebook, a thread, a script."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import dltrain
from dltrain.config.experiment import load_experiment
from dltrain.config.settings import nest_settings
from dltrain.errors import ConfigError, DataError, DltrainError, RunBusy, Stopped, UsageError
from dltrain.events import Event, Logged
from dltrain.runs.lock import Lock
from support.runs import outcome

Write = Callable[[Mapping[str, Any]], Path]
IRIS: dict[str, Any] = {
    "task": "tabular_classification",
    "data": {"name": "bundled_table", "table": "iris"},
    "model": {"name": "dense", "hidden": [8]},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "trainer": {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 2},
}


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_mapping_a_file_and_the_command_line_give_the_same_bytes(
    write_settings: Write, dltrain_process: Callable[..., Any], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = write_settings(IRIS)
    assert dltrain_process("fit", config, "-o", "command").returncode == 0
    dltrain.fit(config, output="file")
    mapped = dltrain.fit(IRIS)
    assert mapped.path == Path("runs/bundled_table_dense")
    assert capfd.readouterr() == ("", "")
    assert outcome(tmp_path / "command") == outcome(tmp_path / "file") == outcome(tmp_path / mapped.path)


def test_an_interrupt_saves_raises_keyboard_interrupt_and_the_same_call_resumes(tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, Logged) and event.step == 8:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process ignores it
    try:
        with pytest.raises(KeyboardInterrupt, match="the same call resumes it in stopped"):
            dltrain.fit(IRIS, output="stopped", watch=interrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "stopped" / "checkpoints" / "step-00000008-mid").is_dir()
    dltrain.fit(IRIS, output="stopped")
    dltrain.fit(IRIS, output="whole")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_a_handler_of_the_host_is_left_alone() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        dltrain.fit(IRIS, output="hosted", watch=lambda _: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert received


def test_spent_time_is_a_dltrain_error_and_the_run_is_resumable() -> None:
    with pytest.raises(Stopped, match="spent") as stopped:
        dltrain.fit(IRIS, output="short", max_seconds=0)
    assert stopped.value.advice == "call fit again to resume in short"
    assert len(dltrain.fit(IRIS, output="short").history) == 3


def test_two_threads_take_turns_and_each_run_is_exact(tmp_path: Path) -> None:
    settings = {**IRIS, "model": {"name": "dense", "hidden": [8], "dropout": 0.5}}
    threads = [threading.Thread(target=dltrain.fit, args=[settings], kwargs={"output": f"t{n}"}) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dltrain.fit(settings, output="alone")
    assert outcome(tmp_path / "t0") == outcome(tmp_path / "t1") == outcome(tmp_path / "alone")


def test_torch_is_as_before() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    dltrain.fit(IRIS)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 2


def test_epochs_and_notes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dltrain"):
        dltrain.fit(IRIS, epochs=1)
    assert "new run: runs/bundled_table_dense" in caplog.text
    assert "epoch 1 of 1: training loss" in caplog.text


def test_a_failing_watcher_is_dropped_with_a_warning_at_the_caller_s_line() -> None:
    def fail(event: Event) -> None:
        raise ValueError("no")

    with pytest.warns(dltrain.DltrainWarning, match="'watch' failed and is dropped: ValueError: no") as caught:
        dltrain.fit(IRIS, watch=fail)
    assert caught[0].filename == __file__


def test_settings_are_shorthands_sections_and_options(write_settings: Write) -> None:
    given = nest_settings(
        {"epochs": 2, "lr": 1e-05, "trainer": {"patience": 4}, "data__validation": 0.25, "model": {"hidden": (4, 4)}}
    )
    experiment = load_experiment(write_settings(IRIS), [given]).experiment
    assert (experiment.trainer.epochs, experiment.trainer.patience) == (2, 4)
    assert experiment.optimizer.options["learning_rate"] == 1e-05
    assert experiment.data.options["validation"] == 0.25
    assert experiment.model.options["hidden"] == [4, 4]


def test_a_shipped_config_by_name_extended_by_a_mapping(tmp_path: Path) -> None:
    assert dltrain.fit("iris_dense", epochs=1).path == Path("runs/iris_dense")
    dltrain.fit({"extends": "iris_dense"}, epochs=1, output="extended")
    assert outcome(tmp_path / "extended")["metrics.jsonl"] == outcome(tmp_path / "runs/iris_dense")["metrics.jsonl"]


def test_errors_are_exceptions_with_their_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the settings given.*'epoch'"):
        dltrain.fit(IRIS, trainer__epoch=2)
    with pytest.raises(ConfigError, match="no such file"):
        dltrain.fit("nowhere.yaml")
    dltrain.fit(IRIS, output="done", epochs=1)
    with pytest.raises(UsageError, match=r"model.hidden: \[8\] -> \[4\]"):
        dltrain.fit(IRIS, output="done", epochs=1, model__hidden=[4])
    lock = Lock(tmp_path / "done")
    with pytest.raises(RunBusy):
        dltrain.fit(IRIS, output="done", epochs=2)
    lock.release()
    with pytest.raises(DltrainError):
        dltrain.load("nowhere")
    with pytest.raises(DataError, match="no such folder"):
        dltrain.runs("nowhere")
