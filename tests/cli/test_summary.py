"""What `dltrain summary` says against hand counts: parameters, FLOPs, memory; for every kind of task."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dltrain.batch import Examples
from dltrain.cli.summary import format_bytes, format_count
from dltrain.core.summary import Summary, measure_model
from dltrain.data.speech.batches import Utterances
from dltrain.data.text.passages import Passages
from dltrain.models.cnn import CNN
from dltrain.models.crnn import CRNN
from dltrain.models.language_rnn import RecurrentLanguageModel
from dltrain.models.mlp import MLP
from dltrain.models.transformer import TransformerLanguageModel
from dltrain.tasks.classification import ImageClassification
from dltrain.tasks.language_modelling import LanguageModelling
from dltrain.tasks.speech_recognition import SpeechRecognition
from support.commands import call, good

Write = Callable[[Mapping[str, Any]], Path]
IMAGES = ImageClassification({"labels": list("abcdefghij"), "channels": 1, "height": 28, "width": 28})
WORDS = [f"word{number}" for number in range(18)]
TEXT = LanguageModelling({"dataset": "toy", "unit": "word", "words": ["<eos>", *WORDS, "<unk>"], "lowercase": True,
                          "end": "<eos>", "unknown": "<unk>"})  # fmt: skip
N, T = 8, 5


def images(count: int = N) -> Examples:
    return Examples(torch.randn(count, 1, 28, 28), torch.arange(count) % 10)


def passages() -> Passages:
    tokens = torch.randint(20, (T + 1, N))
    return Passages(tokens[:-1], tokens[1:], T * N, continues=True)


def found(model: nn.Module, task: Any, batch: Any, optimizer: type = torch.optim.SGD) -> Summary:
    return measure_model(
        model, task, batch, optimizer=optimizer(model.parameters()), autocast=nullcontext, average=None
    )


def test_a_cnn_by_hand() -> None:
    """That of configs/mnist_cnn.yaml: two convolutions with pooling, 28 - 26 - 13 - 11 - 5, and two dense layers."""
    summary = found(CNN(1, 28, 28, 10), IMAGES, images(), torch.optim.Adam)
    first, second = 2 * N * 26 * 26 * 32 * 9, 2 * N * 11 * 11 * 64 * 9 * 32
    dense, classes = 2 * N * 1600 * 64, 2 * N * 64 * 10
    assert [(row.name, row.kind, row.output, row.parameters, row.flops) for row in summary.rows] == [
        ("features.0", "Conv2d", (N, 32, 26, 26), (9 + 1) * 32, first),
        ("features.1", "MaxPool2d", (N, 32, 13, 13), 0, 0),
        ("features.2", "ReLU", (N, 32, 13, 13), 0, 0),
        ("features.3", "Conv2d", (N, 64, 11, 11), (9 * 32 + 1) * 64, second),
        ("features.4", "MaxPool2d", (N, 64, 5, 5), 0, 0),
        ("features.5", "ReLU", (N, 64, 5, 5), 0, 0),
        ("classifier.0", "Flatten", (N, 1600), 0, 0),
        ("classifier.1", "Linear", (N, 64), (1600 + 1) * 64, dense),
        ("classifier.2", "ReLU", (N, 64), 0, 0),
        ("classifier.3", "Linear", (N, 10), 65 * 10, classes),
    ]
    assert (summary.parameters, summary.trainable) == (121930, 121930)
    forward = first + second + dense + classes
    assert summary.forward_flops == forward
    # Backward: a gradient of the inputs and one of the weights, each as costly; the images need none.
    assert summary.step_flops == 3 * forward - first
    memory = summary.memory
    assert (memory.parameters, memory.gradients, memory.inputs) == (4 * 121930, 4 * 121930, 4 * N * 784)
    assert (
        memory.optimizer == 2 * 4 * 121930 + 4 * 8
    )  # two moments of each weight, and the number of steps of 8 tensors
    assert memory.total == sum(vars(memory).values())


LOSS = 4 * N * 10 + 8 * N + 4
"""What the cross-entropy keeps: log-probabilities, targets, and the sum of the targets' weights."""


def test_activations_of_dense_layers_by_hand() -> None:
    """Each hidden layer's outputs are kept once, for its activation and for the layer that reads them."""
    assert found(MLP(1, 28, 28, 10, hidden=[30, 20]), IMAGES, images()).memory.activations == 4 * N * (30 + 20) + LOSS


def test_activations_of_convolutions_by_hand() -> None:
    """In the blocked layout: the images, what each layer gives, the row of features, and the hidden units."""
    model = CNN(1, 28, 28, 10, channels=[16, 32], hidden=24)  # whole blocks of channels, or there would be padding
    maps = [28 * 28, 16 * 26 * 26, 2 * 16 * 13 * 13, 32 * 11 * 11, 2 * 32 * 5 * 5, 32 * 5 * 5, 24]
    assert found(model, IMAGES, images()).memory.activations == 4 * N * sum(maps) + LOSS


def test_activations_are_what_the_graph_holds() -> None:
    """An independent count: the tensors that the nodes of the autograd graph hold, without any hook."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 40), nn.GELU(), nn.LayerNorm(40), nn.Linear(40, 10), nn.Tanh())
    batch = images()
    known = {each.untyped_storage().data_ptr() for each in (*model.parameters(), batch.inputs)}
    held: dict[int, int] = {}
    nodes, seen = [IMAGES.step(model, batch, None).loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for name in dir(node):
            tensor = getattr(node, name) if name.startswith("_saved_") else None
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in known:
                held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        nodes += [following for following, _ in node.next_functions]
    assert found(model, IMAGES, batch).memory.activations == sum(held.values())


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3), ("rnn_tanh", 1)])
def test_recurrent_layers_by_hand(cell: Any, gates: int) -> None:
    model = RecurrentLanguageModel(20, cell=cell, embedding=6, hidden=7, layers=2)
    summary = found(model, TEXT, passages())
    layers = [2 * T * N * gates * 7 * (6 + 7), 2 * T * N * gates * 7 * (7 + 7)]
    assert {row.name: row.flops for row in summary.rows} == {
        "embedding": 0,
        "layers.0": layers[0],
        "layers.1": layers[1],
        "output": 2 * T * N * 7 * 20,
    }
    assert [row.parameters for row in summary.rows] == [
        120, gates * 7 * (6 + 7 + 2), gates * 7 * (7 + 7 + 2), 20 * (7 + 1)
    ]  # fmt: skip
    assert {row.name: row.output for row in summary.rows}["layers.0"] is None  # computed with, but never called
    # The state before the first step is constant, and needs no gradient: without one, GRU and RNN save a product.
    most = 3 * summary.forward_flops
    spared = 0 if cell == "lstm" else sum(2 * N * gates * 7 * 7 for _ in layers)
    assert summary.step_flops == most - spared


def test_tied_weights_count_once_and_keep_their_work() -> None:
    model = RecurrentLanguageModel(20, embedding=7, hidden=7, layers=1, tied=True)
    summary = found(model, TEXT, passages())
    assert summary.parameters == sum(parameter.numel() for parameter in model.parameters()) == 140 + 4 * 7 * 16 + 20
    assert [(row.name, row.parameters) for row in summary.rows] == [
        ("embedding", 140), ("layers.0", 4 * 7 * 16), ("output", 20)
    ]  # fmt: skip
    assert summary.rows[-1].flops == 2 * T * N * 7 * 20


def test_attention_by_hand() -> None:
    summary = found(TransformerLanguageModel(20, width=8, heads=2, layers=1, context=T, dropout=0.0), TEXT, passages())
    (block,) = [row for row in summary.rows if row.kind == "TransformerBlock"]
    assert block.flops == 2 * (2 * N * T * T * 8)  # each query with each key, and the mean of the values
    assert summary.forward_flops == sum(row.flops for row in summary.rows)
    dense = summary.forward_flops - block.flops
    # Backward: twice each dense layer; of attention twice both products, and the scores once more.
    assert summary.step_flops == 3 * dense + block.flops + 5 * (2 * N * T * T * 8)


def test_speech_by_hand() -> None:
    task = SpeechRecognition({"alphabet": ["<blank>", " ", "a", "b"], "subsampling": 2, "bands": 5})
    frames = torch.tensor([12, 9])
    batch = Utterances(torch.randn(2, 12, 5), frames, torch.tensor([[2, 3], [3, 2]]), torch.tensor([2, 2]),
                       torch.arange(2), 4)  # fmt: skip
    summary = found(CRNN(5, 4, 2, channels=[3], hidden=6, layers=1), task, batch)
    flops = {row.name: row.flops for row in summary.rows}
    recurrent = 2 * 2 * 6 * 4 * 6 * (9 + 6)
    assert flops["recurrent.0.forwards"] == flops["recurrent.0.backwards"] == recurrent
    assert flops["output"] == 2 * 2 * 6 * 12 * 4
    assert flops["subsampling.convolutions.0"] == 2 * 2 * 3 * 6 * 3 * 9


def test_half_precision_belongs_to_the_same_layers() -> None:
    model = RecurrentLanguageModel(20, hidden=8)
    full = found(model, TEXT, passages())
    half = measure_model(
        model,
        TEXT,
        passages(),
        optimizer=torch.optim.SGD(model.parameters()),
        autocast=lambda: torch.autocast("cpu", torch.bfloat16),
        average=model,
    )
    assert [row.flops for row in half.rows] == [row.flops for row in full.rows]
    assert half.memory.average == half.memory.parameters == 4 * full.parameters


class Scale(nn.Module):
    """A model with weights of its own, beside those of its layers, and a product that no layer has."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))
        self.layer, self.unused = nn.Linear(784, 10), nn.Linear(3, 3)
        self.layer.bias.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(inputs.flatten(1)) * self.scale
        return logits + (logits @ logits.t()).mean()


def test_what_stands_beside_the_layers_is_a_row_too() -> None:
    summary = found(Scale(), IMAGES, images())
    assert [(row.name, row.output, row.parameters, row.trainable, row.flops) for row in summary.rows] == [
        ("", (N, 10), 10, 10, 2 * N * N * 10),
        ("layer", (N, 10), 7850, 7840, 2 * N * 784 * 10),
        ("unused", None, 12, 12, 0),
    ]
    assert (summary.parameters, summary.trainable) == (7872, 7862)
    assert summary.memory.gradients == 4 * (10 + 7840)


# The command


def test_the_table(settings: dict[str, Any], write_settings: Write) -> None:
    settings["model"] = {"name": "mlp", "hidden": [5]}
    settings["weights"] = {"freeze": ["layers.1.*"]}
    told = good("summary", write_settings(settings)).stdout
    assert told == (
        "mlp on mnist, a training batch of 9 examples, fp32\n"
        "\n"
        "layer     kind     output   parameters    FLOP\n"
        "layers.0  Flatten  9 x 784\n"
        "layers.1  Linear   9 x 5         3,925  70.6 k\n"
        "layers.2  ReLU     9 x 5\n"
        "layers.3  Linear   9 x 10           60     900\n"
        "\n"
        "parameters     3,985, of which 3,925 are frozen\n"
        "forward pass   71.5 kFLOP, 7.94 kFLOP for each of 9 examples\n"
        "training step  72.4 kFLOP, forward and backward\n"
        "               counted: matrix products, convolutions, recurrent layers and attention; a multiply-add is two\n"
        "memory         44.4 KiB in a training step with adam: parameters 15.6 KiB, gradients 240 B, optimizer 488 B, "
        "activations 616 B, inputs 27.6 KiB\n"
    )


@pytest.mark.slow
def test_json_batch_size_and_a_run_directory(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["trainer"].update(epochs=1, ema=0.9)
    config = write_settings(settings)
    good("fit", config, "-o", tmp_path / "run", "-q")
    before = sorted((tmp_path / "run").rglob("*"))
    of_run = good("summary", tmp_path / "run", "--json", "--batch-size", 20)
    assert of_run.stdout == good("summary", config, "--json", "--set", "data.batch_size=20").stdout
    assert sorted((tmp_path / "run").rglob("*")) == before
    told = json.loads(of_run.stdout)
    assert told["batch"] == {"count": 20, "of": "examples"}
    assert (told["model"], told["data"], told["optimizer"], told["precision"]) == ("cnn", "mnist", "adam", "fp32")
    assert told["parameters"] == {"total": 40 + (4 * 13 * 13 + 1) * 8 + 90, "trainable": 40 + 677 * 8 + 90}
    assert told["layers"][0]["output"] == [20, 4, 26, 26]
    assert told["memory_bytes"]["average"] >= told["memory_bytes"]["parameters"]
    assert told["flops"]["step"] > told["flops"]["forward"] > 0


def test_what_goes_wrong(settings: dict[str, Any], write_settings: Write, tmp_path: Path) -> None:
    settings["model"] = {"name": "mlp", "batch_norm": True}
    config = write_settings(settings)
    single = call("summary", config, "--batch-size", 1)
    assert single.exit_code != 0
    assert str(single.exception) == (
        "model: batch normalisation cannot learn from a batch of one example\nnext: give a larger --batch-size"
    )
    missing = call("summary", config, "--set", f"data.root={tmp_path}/nothing")
    assert type(missing.exception).__name__ == "DataError"
    assert "train-images-idx3-ubyte" in str(missing.exception)
    fault = call("summary", config, "--set", "model.kernal=3")
    assert "'kernal' is not an option of model 'mlp'" in str(fault.exception)


@pytest.mark.slow
def test_every_task_has_a_summary(settings: dict[str, Any], write_settings: Write, images_root: Path) -> None:
    """Models of the other tasks, on the samples that come with their data; the sums are those of the model itself."""
    configs = Path(__file__).parents[2] / "configs"
    for name in ("sequential_text", "sequential_series", "linear_regression"):
        told = json.loads(good("summary", configs / f"{name}.yaml", "--json").stdout)
        assert told["parameters"]["total"] == sum(row["parameters"] for row in told["layers"]) > 0
        assert told["flops"]["forward"] == sum(row["flops"] for row in told["layers"]) > 0
    settings["task"] = "reconstruction"
    settings["model"] = {
        "name": "sequential",
        "layers": [{"conv2d": {"filters": 2, "padding": "same"}}, {"conv2d": "image_channels"}, {"upsample": 2},
                   {"conv2d": {"filters": 1, "kernel": 25}}],
    }  # fmt: skip
    told = json.loads(good("summary", write_settings(settings), "--json").stdout)
    assert [row["output"] for row in told["layers"]] == [[9, 2, 28, 28], [9, 1, 26, 26], [9, 1, 52, 52], [9, 1, 28, 28]]


def test_numbers_are_readable() -> None:
    assert [format_count(number) for number in (0, 12, 999.4, 999.6, 12345, 5e6, 7.25e9, 3e12, 1.5e15)] == [
        "0 ", "12 ", "999 ", "1 k", "12.3 k", "5 M", "7.25 G", "3 T", "1,500 T",
    ]  # fmt: skip
    assert [format_bytes(size) for size in (0, 999, 1024, 5 << 20, 3 << 30)] == [
        "0 B", "999 B", "1 KiB", "5 MiB", "3 GiB",
    ]  # fmt: skip
