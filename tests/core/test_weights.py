"""The `weights` section: how training starts, what stays, how fast each part moves, what decays."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from dltrain.core.optimizers import adam, adamw, muon, sgd
from dltrain.core.weights import (
    apply_group_options,
    copy_matching_tensors,
    freeze,
    initialize,
    match_parameters,
    parameter_groups,
)
from dltrain.errors import DataError
from dltrain.options import Weights
from dltrain.runs.building import read_initial_weights


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))


BOUNDS: dict[str, Callable[[int, int], float]] = {
    "xavier_uniform": lambda fan_in, fan_out: (6 / (fan_in + fan_out)) ** 0.5,
    "kaiming_uniform": lambda fan_in, fan_out: (6 / fan_in) ** 0.5,
    "uniform": lambda fan_in, fan_out: 0.25,
}
DEVIATIONS: dict[str, Callable[[int, int], float]] = {
    "xavier_normal": lambda fan_in, fan_out: (2 / (fan_in + fan_out)) ** 0.5,
    "kaiming_normal": lambda fan_in, fan_out: (2 / fan_in) ** 0.5,
}


@pytest.mark.parametrize("scheme", BOUNDS)
def test_uniform_schemes_fill_their_range(scheme: str) -> None:
    layer = nn.Linear(80, 200)
    initialize(layer, Weights(initialization=scheme, initial_range=0.25))  # type: ignore[arg-type]
    bound = BOUNDS[scheme](80, 200)
    assert float(layer.weight.detach().abs().max()) <= bound
    # The variance of a uniform draw is bound**2 / 3; 16,000 draws estimate it to about 1 %.
    assert float(layer.weight.detach().var()) == pytest.approx(bound**2 / 3, rel=0.05)


@pytest.mark.parametrize("scheme", DEVIATIONS)
def test_normal_schemes_have_their_deviation(scheme: str) -> None:
    layer = nn.Conv2d(16, 64, 3)
    initialize(layer, Weights(initialization=scheme))  # type: ignore[arg-type]
    assert float(layer.weight.detach().std()) == pytest.approx(DEVIATIONS[scheme](16 * 9, 64 * 9), rel=0.05)


def test_orthogonal_draws_each_gate_of_a_recurrent_layer_by_itself() -> None:
    lstm = nn.LSTM(7, 7)
    before = lstm.bias_ih_l0.clone()
    initialize(lstm, Weights(initialization="orthogonal"))
    for gate in lstm.weight_hh_l0.detach().chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(7), atol=1e-5, rtol=0)
    assert torch.equal(lstm.bias_ih_l0, before)


def test_embeddings_are_drawn_anew_by_uniform_alone() -> None:
    table = nn.Embedding(50, 4)
    before = table.weight.clone()
    initialize(table, Weights(initialization="xavier_normal"))
    assert torch.equal(table.weight, before)
    initialize(table, Weights(initialization="uniform"))
    assert float(table.weight.detach().abs().max()) <= 0.1


def test_tensors_of_another_shape_stay_as_they_were_drawn() -> None:
    model, other = small(), small()
    with torch.no_grad():
        other[0].weight.fill_(3.0)
    tensors = dict(other.state_dict())
    tensors["3.weight"] = torch.zeros(7, 5)
    del tensors["3.bias"]
    head = model[3].weight.clone()
    taken = copy_matching_tensors(model, tensors, "elsewhere")
    assert float(model[0].weight.detach().min()) == 3.0
    assert torch.equal(model[3].weight, head)
    assert taken.kept == {"3.weight": "is (7, 5) there, and (3, 5) here", "3.bias": "is not there"}
    assert str(taken).startswith("7 of 9 tensors taken\n  3.weight: is (7, 5) there")


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match=r"init_from: there.pt holds no tensor .*\(there: a, \.\.\.; here: 0.weight"):
        copy_matching_tensors(small(), {"a": torch.zeros(1)}, "there.pt")


def test_frozen_parameters_and_their_statistics_never_change() -> None:
    model = small()
    freeze(model, ["0.*", "1.*"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = apply_group_options(sgd(parameter_groups(model, Weights(), False), learning_rate=0.1))
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 6) + 5).square().sum().backward()
        optimizer.step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"3.weight", "3.bias"}


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="freeze: every parameter is frozen, so that nothing is left to train"):
        freeze(small(), ["*"])


def test_a_pattern_that_fits_nothing_names_the_nearest_parameter() -> None:
    with pytest.raises(ValueError, match=r"freeze: no parameter is called '3.wieght'; nearest: 3.weight; there are 0."):
        freeze(small(), ["3.wieght"])
    with pytest.raises(ValueError, match=r"learning_rates: no parameter is called 'head\.\*'"):
        parameter_groups(small(), Weights(learning_rates={"head.*": 2.0}), False)
    assert match_parameters(small(), "?.bias", "freeze") == ["0.bias", "1.bias", "3.bias"]


def one_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return {name: before[name] - parameter.detach() for name, parameter in model.named_parameters()}


def test_a_multiplier_scales_the_step_of_what_its_pattern_fits_first() -> None:
    model = small()
    weights = Weights(learning_rates={"3.bias": 0.5, "3.*": 10.0})
    moved = one_step(model, apply_group_options(sgd(parameter_groups(model, weights, False), learning_rate=0.1)))
    lengths = {name: round(float(step.mean()), 6) for name, step in moved.items()}
    assert lengths == {"0.weight": 0.1, "0.bias": 0.1, "1.weight": 0.1, "1.bias": 0.1, "3.weight": 1.0, "3.bias": 0.05}


@pytest.mark.parametrize("decay_all", [False, True])
def test_decay_spares_biases_and_normalisations(decay_all: bool) -> None:
    model = small()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    groups = parameter_groups(model, Weights(decay_all=decay_all), True)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    apply_group_options(adamw(groups, learning_rate=0.1, weight_decay=0.5)).step()
    for name, parameter in model.named_parameters():  # AdamW with no gradient: w <- w (1 - rate * decay)
        decays = decay_all or parameter.ndim > 1
        torch.testing.assert_close(parameter, torch.full_like(parameter, 0.95 if decays else 1.0), msg=name)


def test_parameters_stay_in_one_group_where_nothing_sets_them_apart() -> None:
    assert len(parameter_groups(small(), Weights(), False)) == 1
    assert len(parameter_groups(small(), Weights(), True)) == 2


def test_muon_takes_groups() -> None:
    model = small()
    weights = Weights(learning_rates={"3.*": 0.0001})
    optimizer = apply_group_options(
        muon(parameter_groups(model, weights, True), learning_rate=0.1, adamw_learning_rate=0.01)
    )
    rates = {(round(group["lr"], 9), group["params"][0].ndim) for group in optimizer.param_groups}
    assert rates == {(1e-6, 1), (1e-5, 2), (0.01, 1), (0.1, 2)}
    moved = one_step(model, optimizer)
    assert float(moved["3.weight"].abs().max()) < 1e-3 < float(moved["0.weight"].abs().max())


def test_groups_take_the_steps_of_one_group() -> None:
    one, many = small(), small()
    plain = adam(list(one.parameters()), learning_rate=0.1)
    grouped = apply_group_options(
        adam(parameter_groups(many, Weights(learning_rates={"0.*": 1.0, "3.*": 1.0}), True), learning_rate=0.1)
    )
    for _ in range(3):
        one_step(one, plain)
        one_step(many, grouped)
    for mine, expected in zip(many.parameters(), one.parameters(), strict=True):
        assert torch.equal(mine, expected)


def best_weights(directory: Path) -> dict[str, Tensor]:
    return load_file(directory / "best" / "weights.safetensors")


def test_training_goes_on_from_another_runs_weights(
    dltrain: Any, settings: dict[str, Any], write_settings: Any, tmp_path: Path
) -> None:
    dltrain("fit", write_settings(settings, "first.yaml"), "-o", tmp_path / "first")
    begun = best_weights(tmp_path / "first")
    settings["weights"] = {"init_from": str(tmp_path / "first"), "freeze": ["features.*"]}
    second = write_settings(settings, "second.yaml")
    done = dltrain("fit", second, "-o", tmp_path / "second")
    assert done.returncode == 0, done.stderr
    assert f"weights from {tmp_path / 'first'}" in done.stderr
    assert "6 of 6 tensors taken" in done.stderr
    ended = best_weights(tmp_path / "second")
    assert {name for name in ended if not torch.equal(ended[name], begun[name])} == {
        name for name in ended if name.startswith("classifier.")
    }
    # Where the weights came from is needed no more: the run has its own.
    shutil.rmtree(tmp_path / "first")
    assert dltrain("eval", tmp_path / "second").returncode == 0
    more = dltrain("fit", second, "-o", tmp_path / "second", "--set", "trainer.epochs=3")
    assert more.returncode == 0, more.stderr


def test_another_head_is_left_as_it_was_drawn(
    dltrain: Any, settings: dict[str, Any], write_settings: Any, tmp_path: Path
) -> None:
    save_file(
        {"features.0.weight": torch.ones(4, 1, 3, 3), "classifier.2.weight": torch.ones(2, 2)},
        tmp_path / "a.safetensors",
    )
    settings["weights"] = {"init_from": str(tmp_path / "a.safetensors")}
    done = dltrain("fit", write_settings(settings), "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "1 of 6 tensors taken" in done.stderr
    assert "classifier.2.weight: is (2, 2) there, and (8, 676) here" in done.stderr


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no such file": ({"init_from": "nowhere.safetensors"}, "weights.init_from: nowhere.safetensors: No such file"),
    "no safetensors": ({"init_from": "small.yaml"}, "init_from: small.yaml: neither a whole safetensors file nor"),
    "no run": ({"init_from": "."}, "weights.init_from: .: no run directory with checkpoints"),
    "no parameter": (
        {"freeze": ["feature.*"]},
        "weights.freeze: no parameter is called 'feature.*'; nearest: features.",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, dltrain: Any, settings: dict[str, Any], write_settings: Any, tmp_path: Path) -> None:
    section, message = FAULTS[name]
    settings["weights"] = section
    done = dltrain("fit", write_settings(settings), "-o", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misplaced_option_is_told_where_it_belongs(
    dltrain: Any, settings: dict[str, Any], write_settings: Any
) -> None:
    settings["trainer"]["freeze"] = ["features.*"]
    done = dltrain("config", "check", write_settings(settings))
    assert "'freeze' belongs to 'weights'" in done.stderr


class Hub(BaseHTTPRequestHandler):
    """Serves one file, whatever it is asked for by name."""

    content = b""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "cache"))
    Hub.content, Hub.asked = save({"3.bias": torch.tensor([1.0, 2.0, 3.0])}), []
    with HTTPServer(("127.0.0.1", 0), Hub) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/models"
        running.shutdown()
        thread.join()


def test_published_weights_are_fetched_once_and_compared_with_their_name(hub: str) -> None:
    address = f"{hub}/net-{hashlib.sha256(Hub.content).hexdigest()[:8]}.safetensors"
    for _ in range(2):
        found = read_initial_weights(address, pytest.fail)
        assert found.tensors["3.bias"].tolist() == [1.0, 2.0, 3.0]
    assert found.sha256 == hashlib.sha256(Hub.content).hexdigest()
    assert len(Hub.asked) == 1


def test_weights_that_are_not_what_their_name_says_are_refused(hub: str) -> None:
    with pytest.raises(
        DataError,
        match=r"net-01234567.pth: no mirror provides it:\n.*SHA-256 .*, expected 01234567\nnext: download it elsewhere",
    ):
        read_initial_weights(f"{hub}/net-01234567.pth", pytest.fail)
