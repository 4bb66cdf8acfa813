"""Exported models give the trained one's outputs, in any number and length, or nothing is written."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dltrain.batch import Batch, Examples
from dltrain.data.documents.batches import Documents
from dltrain.data.speech.batches import Utterances
from dltrain.data.text.passages import Passages
from dltrain.errors import DataError, DltrainError, NoCheckpoint, RequirementNotMet, Stopped, UsageError
from dltrain.export import programs
from dltrain.export.agreement import Agreement, measure_agreement, measure_difference, score_program
from dltrain.export.capture import symbolic_lengths
from dltrain.export.computation import (
    READERS,
    WRITERS,
    Form,
    Subject,
    export_program,
    make_trace_inputs,
    open_program,
    refuse_unexportable,
)
from dltrain.export.int8 import quantize_layers, round_rows
from dltrain.export.interface import MEMORY, find_interface, list_arguments, take_examples
from dltrain.export.weights import ExportedWeights
from dltrain.kinds import BATCH, LENGTH, find_kind, known_kinds, resolve_reference
from dltrain.models.cnn import CNN
from dltrain.models.conformer import ConformerCTC
from dltrain.models.crnn import CRNN
from dltrain.models.language_rnn import RecurrentLanguageModel
from dltrain.models.transformer import TransformerLanguageModel
from dltrain.runtime.precision import Runtime
from dltrain.runtime.seeds import make_generator
from dltrain.stream import Loader
from dltrain.tasks.classification import ImageClassification, TextClassification
from dltrain.tasks.language_modelling import LanguageModelling
from dltrain.tasks.speech_recognition import SpeechRecognition
from support.commands import call, good, train_bars

WORDS = 40
IMAGES = ImageClassification({"labels": ["a", "b", "c"], "channels": 1, "height": 12, "width": 10})
SPEECH = SpeechRecognition({"alphabet": ["", *"abcd "], "subsampling": 2, "bands": 8})
TEXT = LanguageModelling({"unit": "word", "words": [str(word) for word in range(WORDS)]})
RUNTIME = Runtime(torch.device("cpu"), "a test")


def subject(model: nn.Module, task: Any, kind: str) -> Subject:
    return Subject(
        name="a model",
        model=model.eval(),
        weights_bytes=1,
        task=task,
        batches=[synthetic(kind, task.sizes)],
        leading=find_kind(kind).axes,
        stream=None,
        runtime=RUNTIME,
    )


def synthetic(kind: str, sizes: Mapping[str, int]) -> Batch:
    make = find_kind(kind).synthetic
    assert make is not None
    batch: Batch = resolve_reference(make)(sizes, make_generator("made up", 0))
    return batch


def pictures() -> Subject:
    torch.manual_seed(0)
    return subject(CNN(1, 12, 10, 3, channels=[4], hidden=64), IMAGES, "images")


def compared(subject: Subject, form: Form) -> tuple[Agreement, bytes]:
    """How far a model in a format is from the model itself, and the file's content."""
    meant = find_interface(subject.model, subject.task, subject.batches[0], subject.leading)
    batches = [list_arguments(batch) for batch in subject.batches]
    content = WRITERS[form](meant, make_trace_inputs(meant, batches[0]))
    with open_program(content, form) as program:
        found = measure_agreement(program, meant, batches)
    assert found.sizes == [1, 2, 7, 8]
    return found, content


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "task", "kind"),
    [
        ("cnn", lambda: CNN(1, 12, 10, 3, channels=[4], batch_norm=True), IMAGES, "images"),
        ("crnn", lambda: CRNN(8, 6, 2, channels=[4], hidden=6, layers=1, cell="gru"), SPEECH, "speech"),
        ("conformer", lambda: ConformerCTC(8, 6, 2, channels=[4], width=8, heads=2, layers=1), SPEECH, "speech"),
        ("lstm", lambda: RecurrentLanguageModel(WORDS, hidden=8), TEXT, "text"),
        ("tanh", lambda: RecurrentLanguageModel(WORDS, cell="rnn_tanh", hidden=8, tied=True), TEXT, "text"),
        ("transformer", lambda: TransformerLanguageModel(WORDS, width=8, heads=2, layers=1, context=5), TEXT, "text"),
        (
            "learned positions",
            lambda: TransformerLanguageModel(WORDS, width=8, heads=2, layers=1, context=5, positions="learned"),
            TEXT,
            "text",
        ),
    ],
)  # fmt: skip
def test_torch_export_takes_any_number_and_any_length(
    name: str, model: Callable[[], nn.Module], task: Any, kind: str
) -> None:
    found, _ = compared(subject(model(), task, kind), "torch-export")
    assert found.difference < 1e-6
    assert found.lengths == ([] if kind == "images" else [1, 12, 24])


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_relu"])
def test_onnx_has_recurrent_layers_of_its_own(cell: Any) -> None:
    onnx = pytest.importorskip("onnx")
    found, content = compared(
        subject(RecurrentLanguageModel(WORDS, cell=cell, hidden=8, layers=1), TEXT, "text"), "onnx"
    )
    assert 0 < found.difference < 1e-5
    graph = onnx.load_from_string(content).graph
    assert {"lstm": "LSTM", "gru": "GRU"}.get(cell, "RNN") in {node.op_type for node in graph.node}
    assert [[one.dim_param or one.dim_value for one in port.type.tensor_type.shape.dim] for port in graph.input][
        :2
    ] == [
        [LENGTH, BATCH],
        [1, BATCH, 8],
    ]


class Wide(nn.Module):
    """A two-layer bidirectional recurrent network of torch's, as a plug-in may use it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.layers(features)[0]
        return outputs[:, len(features[0]) // 2]


@pytest.mark.slow
def test_both_directions_and_all_layers_come_along() -> None:
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    model, batch = Wide().eval(), Examples(torch.randn(5, 6, 3), torch.zeros(5))
    meant = find_interface(model, IMAGES, batch, None)
    assert [port.name for port in meant.inputs] == ["features"]
    for form, write in WRITERS.items():
        with open_program(write(meant, list_arguments(batch)), form) as program:
            assert measure_agreement(program, meant, [list_arguments(batch)]).difference < 1e-6


def test_what_goes_in_and_comes_out_has_names_and_axes() -> None:
    speech = subject(CRNN(8, 6, 2, channels=[4], hidden=4, layers=1), SPEECH, "speech")
    meant = find_interface(speech.model, SPEECH, speech.batches[0], speech.leading)
    assert [(port.name, port.axes) for port in meant.inputs] == [
        ("features", (BATCH, LENGTH, 8)),
        ("frames", (BATCH,)),
    ]
    assert [(port.name, port.axes, port.dtype) for port in meant.outputs] == [
        ("log_probabilities", (BATCH, "output_length", 6), torch.float32),
        ("output_lengths", (BATCH,), torch.int64),
    ]
    text = subject(TransformerLanguageModel(WORDS, width=8, heads=2, layers=1, context=5), TEXT, "text")
    meant = find_interface(text.model, TEXT, text.batches[0], text.leading)
    assert [(port.name, port.axes) for port in meant.inputs] == [
        ("tokens", (LENGTH, BATCH)),
        ("state_0", (MEMORY, BATCH, 2, 2, 4)),
    ]
    assert [(port.name, port.axes) for port in meant.outputs] == [
        ("log_probabilities", (LENGTH, BATCH, WORDS)),
        ("next_state_0", (MEMORY, BATCH, 2, 2, 4)),
    ]
    assert [tuple(state.shape) for state in meant.state(3)] == [(0, 3, 2, 2, 4)]


def test_answers_are_the_tasks_own() -> None:
    chosen = pictures()
    meant = find_interface(chosen.model, IMAGES, chosen.batches[0], chosen.leading)
    (images,) = list_arguments(chosen.batches[0])
    outputs, probabilities = meant.module(images)
    assert torch.equal(outputs, chosen.model(images))
    assert torch.equal(probabilities, outputs.softmax(1))


def test_slices_repeat_examples_and_shorten_lengths() -> None:
    tokens = torch.arange(6).view(2, 3)
    batch = Documents(tokens, torch.tensor([3, 1]), torch.zeros(2, dtype=torch.int64))
    some, lengths = take_examples([(BATCH, LENGTH), (BATCH,)], list_arguments(batch), 3, 2)
    assert some.tolist() == [[0, 1], [3, 4], [0, 1]]
    assert lengths.tolist() == [2, 1, 2]


def test_a_state_that_begins_otherwise_is_refused() -> None:
    class Begins(RecurrentLanguageModel):
        def forward(self, tokens: Tensor, state: Any = None) -> Any:
            ones = ((torch.ones(1, tokens.shape[1], 8),) * 2,) * 2
            return super().forward(tokens, ones if state is None else state)

    text = subject(Begins(WORDS, hidden=8), TEXT, "text")
    with pytest.raises(ValueError, match="its state before the first token is neither zeros nor empty"):
        find_interface(text.model, TEXT, text.batches[0], text.leading)


class Capricious(nn.Module):
    """A model whose path depends on the numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.sum() > 0 else images.flatten(1) + 1


def test_what_no_graph_can_hold_is_refused_with_a_reason() -> None:
    chosen = pictures()
    with pytest.raises(UsageError) as caught:
        export_program(chosen._replace(model=Capricious()), "torch-export", False, 1e-4)
    assert str(caught.value).startswith("a model cannot be exported as torch-export: ")
    assert str(caught.value).endswith(
        "allowed: --format safetensors takes every model; --debug shows the full traceback"
    )
    with pytest.raises(UsageError, match=r"its batches \(Examples\) have 1 input tensors, .* describes the axes of 2"):
        export_program(chosen._replace(leading=find_kind("speech").axes), "onnx", False, 1e-4)
    with pytest.raises(UsageError, match="cannot be exported as onnx: KeyError"), refuse_unexportable(chosen, "onnx"):
        raise KeyError
    with pytest.raises(Stopped), refuse_unexportable(chosen, "onnx"):
        raise Stopped("stopped by SIGINT", 130)


def test_differences_are_shares_of_the_largest_number() -> None:
    one = torch.tensor([0.5, -200.0, float("inf")])
    assert measure_difference([one], [torch.tensor([0.5, -201.0, float("inf")])]) == pytest.approx(1 / 200)
    assert measure_difference([torch.tensor([0.5])], [torch.tensor([0.25])]) == 0.25
    assert measure_difference([torch.tensor([1, 2])], [torch.tensor([1, 2])]) == 0
    assert measure_difference([torch.empty(0)], [torch.empty(0)]) == 0
    unlike = [torch.tensor([1, 3]), torch.tensor([1.0, 2.0]), torch.tensor([1])]
    assert all(measure_difference([torch.tensor([1, 2])], [other]) == float("inf") for other in unlike)
    assert measure_difference([one], []) == float("inf")
    assert measure_difference([torch.tensor([1.0])], [torch.tensor([float("nan")])]) == float("inf")


def test_the_shortest_length_is_found_or_none() -> None:
    text = subject(RecurrentLanguageModel(WORDS, hidden=8, layers=1), TEXT, "text")
    meant = find_interface(text.model, TEXT, text.batches[0], text.leading)

    def program(tokens: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        if len(tokens) < 3:
            raise AssertionError("too short for me")
        outputs: tuple[Tensor, ...] = meant.module(tokens, *state)
        return outputs

    tensors = list_arguments(text.batches[0])
    assert measure_agreement(program, meant, [tensors]).lengths == [3, 12, 24]
    with pytest.raises(ValueError, match="it runs for no length up to 2: too short for me"):
        measure_agreement(program, meant, [(tensors[0][:2],)])


def test_len_is_python_s_own_again() -> None:
    plain = len
    with symbolic_lengths(Wide()):
        assert json.__dict__.get("len") is None  # other packages keep Python's own
        assert len is not plain
        assert len([1, 2]) == 2
        assert len(torch.zeros(3, 2)) == 3
    assert len is plain


def test_rows_are_rounded_to_half_a_step() -> None:
    rows = torch.tensor([[1.0, -0.5, 0.25], [0.0, 0.0, 0.0], [127.0, 63.4, -63.6]])
    numbers, scales = round_rows(rows)
    assert numbers.dtype == torch.int8
    assert numbers[2].tolist() == [127, 63, -64]
    assert ((numbers * scales - rows).abs() <= scales / 2 + 1e-6).all()


def test_int8_layers_compute_what_rounded_weights_give() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {"linear": nn.Linear(40, 30), "small": nn.Linear(4, 4), "table": nn.Embedding(60, 20), "lstm": nn.LSTM(20, 16)}
    ).eval()
    smaller, names = quantize_layers(model)
    assert names == ["linear.weight", "table.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0"]
    weights = {name: module.weight for name, module in model.items() if name in ("linear", "table")}
    inputs, tokens = torch.randn(2, 5, 40), torch.tensor([[3, 59]])
    numbers, scales = round_rows(inputs)
    own, steps = round_rows(weights["linear"])
    exact = (numbers.double() * scales) @ (own.double() * steps).T + model["linear"].bias
    torch.testing.assert_close(smaller["linear"](inputs).double(), exact, atol=1e-5, rtol=0)
    own, steps = round_rows(weights["table"])
    assert torch.equal(smaller["table"](tokens), (own * steps)[tokens])
    torch.testing.assert_close(smaller["linear"].weight, weights["linear"], atol=0.001, rtol=0)
    sequence = torch.randn(7, 2, 20)
    torch.testing.assert_close(smaller["lstm"](sequence)[0], model["lstm"](sequence)[0], atol=0.01, rtol=0)
    assert torch.equal(model["linear"].weight, weights["linear"])  # the given one is as it was


def test_int8_that_saves_nothing_is_refused() -> None:
    small = subject(CNN(1, 12, 10, 3, channels=[2], hidden=None), IMAGES, "images")
    with pytest.raises(
        UsageError, match=r"a model: int8 makes its torch-export file no smaller \(\d+ bytes, then \d+\)"
    ):
        export_program(small, "torch-export", True, 1e-4)


def test_a_program_scores_like_its_model() -> None:
    torch.manual_seed(0)
    model = RecurrentLanguageModel(WORDS, hidden=8).eval()
    passages = [
        Passages(*torch.randint(WORDS, (2, 6, 3), generator=torch.Generator().manual_seed(place)), 18, continues=True)
        for place in range(3)
    ]

    class Fixed:
        def __len__(self) -> int:
            return len(passages)

        def batch(self, epoch: int, index: int) -> Passages:
            return passages[index]

    meant = find_interface(model, TEXT, passages[0], [(LENGTH, BATCH)])
    with open_program(
        programs.write_torch_export(meant, (*list_arguments(passages[0]), *meant.state(3))), "torch-export"
    ) as program:
        report = score_program(program, meant, TEXT, stream=Loader(Fixed()), runtime=RUNTIME)
    carry, nats = None, 0.0
    with torch.no_grad():
        for batch in passages:  # what was read before is carried along
            reading = model(batch.inputs, carry)
            carry = reading.state
            nats += float(model.nats(reading.features.flatten(0, 1), batch.targets.flatten()).sum())
    assert report["loss"] == pytest.approx(nats / 54, rel=1e-6)


def test_onnx_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UsageError, match="ONNX needs onnxruntime, which cannot be imported: No module named") as caught:
        programs.import_onnx("onnxruntime.quantization")
    assert "pip install 'dltrain[export]'" in str(caught.value)


@pytest.fixture(scope="module")
def run(images_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a model that tells the patterns apart."""
    model = "{name: cnn, channels: [4], hidden: 32}"
    return train_bars(tmp_path_factory.mktemp("exported"), images_root, model=model, epochs=3, name="bars")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_weights_are_taken_wherever_a_run_is(run: Path, here: Path) -> None:
    result = good("export", run)
    assert "compared on 1 inputs: the validation split of mnist" in result.stdout
    assert "largest difference 0 of the largest output" in result.stdout
    assert sorted(path.name for path in here.iterdir()) == ["bars.safetensors", "bars.safetensors.json"]
    measured = [json.loads(good("eval", one, "--json").stdout)["metrics"] for one in (run, "bars.safetensors")]
    assert measured[0] == measured[1]
    again = json.loads(good("export", "bars.safetensors", "-o", "again.safetensors", "--json").stdout)
    assert Path("again.safetensors").read_bytes() == Path("bars.safetensors").read_bytes()
    assert again["sha256"] == hashlib.sha256(Path("bars.safetensors").read_bytes()).hexdigest()


def test_files_of_weights_that_cannot_be_used_say_why(run: Path, here: Path) -> None:
    good("export", run, "-o", "w.safetensors")
    described = Path("w.safetensors.json").read_text()

    def fault() -> str:
        with pytest.raises(NoCheckpoint) as caught:
            ExportedWeights(Path("w.safetensors")).weights()
        return str(caught.value)

    Path("w.safetensors.json").write_text("[]")
    assert fault().startswith("w.safetensors.json: is no description of an export")
    Path("w.safetensors.json").write_text(described.replace('"sha256": "', '"sha256": "0'))
    assert "does not belong to w.safetensors.json, or is damaged" in fault()
    Path("w.safetensors.json").unlink()
    assert fault().startswith("w.safetensors: its description, w.safetensors.json, is not beside it")
    named = call("eval", "w.safetensors", "--checkpoint", "last")
    assert str(named.exception) == "w.safetensors: is one file of weights; leave out --checkpoint last"


@pytest.mark.slow
def test_a_program_runs_without_us_as_its_description_says(run: Path, here: Path, images_root: Path) -> None:
    from dltrain.data.images import idx
    from dltrain.data.images.sets import locate_image_set

    result = good("export", run, "--format", "torch-export", "-o", "new/bars.pt2", "--json")
    told = json.loads(result.stdout)
    described = json.loads(Path("new/bars.pt2.json").read_text())
    assert {name: value for name, value in described.items() if name not in ("record", "known_examples")} == told
    assert told["check"] | {"difference": 0} == {
        "on": "the validation split of mnist", "inputs": 4, "sizes": [1, 2, 7, 40], "difference": 0, "allowed": 1e-4
    }  # fmt: skip
    assert [port["shape"] for port in told["inputs"]] == [["batch", 1, 28, 28]]
    pixels, labels = idx.read_split(locate_image_set("mnist", images_root), "test", 10)
    prepared = told["preparation"]
    inputs = torch.from_numpy(pixels.copy()).unsqueeze(1).float() * prepared["scale"][0] + prepared["offset"][0]
    program = torch.export.load("new/bars.pt2").module()
    outputs = dict(zip([port["name"] for port in told["outputs"]], program(inputs), strict=True))
    assert torch.allclose(outputs["probabilities"].sum(1), torch.ones(60))
    right = float((outputs["probabilities"].argmax(1) == torch.from_numpy(labels.copy())).float().mean())
    assert right == pytest.approx(json.loads(good("eval", run, "--json").stdout)["metrics"]["accuracy"])
    assert described["record"]["assets"]["labels"] == [str(label) for label in range(10)]
    assert (
        described["weights_sha256"]
        == json.loads((run / "best" / "manifest.json").read_text())["files"]["weights.safetensors"]["sha256"]
    )


@pytest.mark.slow
def test_int8_is_measured_beside_the_rest(run: Path, here: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    result = good("export", run, "--format", "onnx", "--quantize", "int8", "--split", "test")
    assert "int8: 1 weights" in result.stdout or "int8: 2 weights" in result.stdout
    head = next(line for line in result.stdout.splitlines() if "ms for 1 " in line)
    assert head.split("  ")[-2:] == ["accuracy", "loss"] or head.split()[-2:] == ["accuracy", "loss"]
    rows = {form["name"]: form for form in json.loads(Path("bars.onnx.json").read_text())["forms"]}
    assert list(rows) == ["trained", "exported", "int8"]
    assert rows["int8"]["bytes"] == Path("bars.onnx").stat().st_size < rows["exported"]["bytes"] / 2
    own = json.loads(good("eval", run, "--json").stdout)["metrics"]
    assert rows["trained"]["metrics"] == pytest.approx(own)
    assert rows["exported"]["metrics"]["accuracy"] == own["accuracy"]
    assert rows["int8"]["metrics"]["accuracy"] == pytest.approx(own["accuracy"], abs=0.05)
    session = onnxruntime.InferenceSession("bars.onnx")
    assert [(port.name, port.shape) for port in session.get_inputs()] == [("images", ["batch", 1, 28, 28])]


@pytest.mark.slow
def test_without_data_one_may_consent_to_made_up_inputs(run: Path, here: Path) -> None:
    missing = call("export", run, "--root", here / "nowhere")
    assert isinstance(missing.exception, DataError)
    assert str(missing.exception).endswith(
        "An exported model is compared with the trained one on this data: give its folder with --root, or compare on "
        "synthetic inputs with --synthetic."
    )
    assert not list(here.iterdir())
    result = good("export", run, "--root", here / "nowhere", "--synthetic", "--format", "torch-export")
    assert "synthetic inputs, not data" in result.stdout


def test_nothing_is_left_where_outputs_differ(run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = READERS["torch-export"]

    def off(path: Path) -> programs.Program:
        return lambda *inputs: tuple(output + 0.01 for output in plain(path)(*inputs))

    monkeypatch.setitem(READERS, "torch-export", off)  # type: ignore[misc]
    result = call("export", run, "--format", "torch-export")
    assert isinstance(result.exception, RequirementNotMet)
    told = f"{run}: the model 'cnn': the exported model's outputs differ by 0.01 of the largest; allowed is 0.0001"
    assert str(result.exception) == f"{told} (--tolerance)\nnothing was written"
    assert not list(here.iterdir())


def test_options_that_do_not_go_together(run: Path) -> None:
    for words, message in (
        (("--quantize", "int8"), "--quantize int8 cannot go with --format safetensors"),
        (("--quantize", "int8", "--format", "onnx", "--synthetic"), "--quantize int8 cannot go with --synthetic"),
    ):
        result = call("export", run, *words)
        assert isinstance(result.exception, UsageError)
        assert str(result.exception).startswith(message)


def test_a_file_that_cannot_be_written_leaves_no_description(run: Path, here: Path) -> None:
    (here / "taken.safetensors").mkdir()
    result = call("export", run, "-o", "taken.safetensors")
    assert isinstance(result.exception, OSError)
    assert [path.name for path in here.iterdir()] == ["taken.safetensors"]


def test_an_empty_validation_split_gives_way_to_training(run: Path, here: Path, images_root: Path) -> None:
    config = (
        (run / "config.yaml")
        .read_text()
        .replace("validation: 0.2", "validation: 0.0")
        .replace("epochs: 3", "epochs: 1")
    )
    Path("bars.yaml").write_text(config)
    good("fit", "bars.yaml", "-o", "whole", "-q")
    result = good("export", "whole", "-o", "w.safetensors")
    assert "the training split of mnist" in result.stdout
    empty = call("export", "whole", "--split", "validation")
    assert isinstance(empty.exception, DltrainError)
    assert "its validation split is empty\nnext: leave out --split" in str(empty.exception)


@pytest.mark.slow
def test_a_language_model_exports_with_its_state(here: Path) -> None:
    draw = random.Random(0)
    Path("text.txt").write_text("".join(" ".join(draw.choices("abcdefgh", k=9)) + "\n" for _ in range(80)))
    Path("text.yaml").write_text(
        """
task: language_modelling
data: {name: text, training: [text.txt], validation: 0.2, batch_size: 4, sequence_length: 10}
model: {name: rnn, cell: gru, hidden: 40, layers: 1}
trainer: {epochs: 1, device: cpu, threads: 1, precision: bf16}
"""
    )
    good("fit", "text.yaml", "-o", "text", "-q")
    told = json.loads(good("export", "text", "--format", "torch-export", "--quantize", "int8", "--json").stdout)
    assert told["quantization"]["weights"] == ["layers.0.weight_ih_l0", "layers.0.weight_hh_l0"]
    assert told["initial_state"].startswith("zeros of the shapes of the inputs state_0")
    trained, exported, int8 = (form["metrics"]["perplexity"] for form in told["forms"])
    assert exported == pytest.approx(trained, rel=1e-5)
    assert int8 == pytest.approx(trained, rel=0.02)
    assert trained != int8


def test_made_up_inputs_have_the_form_of_each_kind() -> None:
    documents = TextClassification({"labels": ["a", "b"], "words": ["x"] * 9})
    batch = synthetic("documents", documents.sizes)
    assert isinstance(batch, Documents)
    assert int(batch.tokens.max()) < 9
    assert batch.tokens.shape[1] == int(batch.lengths.max())
    assert int((batch.tokens * (torch.arange(24) >= batch.lengths[:, None])).sum()) == 0
    spoken = synthetic("speech", SPEECH.sizes)
    assert isinstance(spoken, Utterances)
    assert spoken.features.shape == (8, 24, 8)
    for kind, sizes, shape in (("table", {"inputs": 5}, (8, 5)), ("series", {"window": 4, "channels": 2}, (8, 4, 2))):
        batch = synthetic(kind, sizes)
        assert isinstance(batch, Examples)
        assert batch.inputs.shape == shape
    assert find_kind("graphs").synthetic is None


def test_preparations_name_what_exists() -> None:
    """Each `dltrain.x.y` in a preparation can be imported."""
    for kind in known_kinds():
        for module, name in re.findall(r"(dltrain[\w.]+)\.(\w+)", " ".join(kind.preparation)):
            assert hasattr(importlib.import_module(module), name)
