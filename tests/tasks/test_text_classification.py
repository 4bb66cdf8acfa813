"""Classifiers of texts: what they compute, that padding changes nothing, that they learn, and that runs repeat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from dltrain.capabilities import Classifies, Predicts
from dltrain.data.documents.batches import Documents
from dltrain.data.documents.reader import TextReader
from dltrain.models.text_classifiers import EmbeddingBag, TextCNN, TextRNN
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import load_trained
from dltrain.runtime.interrupts import Interrupts
from dltrain.tasks.classification import TextClassification
from support.documents import write_table
from support.files import lines
from support.runs import run_once

Write = Callable[[Mapping[str, Any]], Path]

MODELS: dict[str, Callable[[], nn.Module]] = {
    "bag": lambda: EmbeddingBag(20, 3, embedding=8),
    "bag, sum and hidden": lambda: EmbeddingBag(20, 3, embedding=8, pooling="sum", hidden=6),
    "lstm": lambda: TextRNN(20, 3, embedding=8, hidden=6, layers=2),
    "gru, mean": lambda: TextRNN(20, 3, cell="gru", embedding=8, hidden=6, layers=2, pooling="mean"),
    "one direction": lambda: TextRNN(20, 3, embedding=8, hidden=6, bidirectional=False),
    "one direction, mean": lambda: TextRNN(20, 3, embedding=8, hidden=6, bidirectional=False, pooling="mean"),
    "cnn": lambda: TextCNN(20, 3, embedding=8, filters=5),
}


def random_texts(count: int = 12, longest: int = 9) -> tuple[Tensor, Tensor]:
    """Tokens (count, longest) with 0 after each text's end, and lengths of 1 to `longest`, all of them there."""
    draw = torch.Generator().manual_seed(0)
    lengths = torch.arange(count) % longest + 1
    tokens = torch.randint(1, 20, (count, longest), generator=draw)
    return tokens * (torch.arange(longest) < lengths[:, None]), lengths


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    tokens, lengths = random_texts()
    together = model(tokens, lengths)
    assert together.shape == (12, 3)
    further = model(nn.functional.pad(tokens, (0, 5), value=7), lengths)  # whatever stands there
    torch.testing.assert_close(further, together, atol=1e-6, rtol=0)
    for row, length, logits in zip(tokens, lengths, together, strict=True):
        alone = model(row[None, : int(length)], length[None])[0]
        torch.testing.assert_close(alone, logits, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_the_bag_is_torchs(pooling: Any) -> None:
    model = EmbeddingBag(20, 3, embedding=8, pooling=pooling)
    tokens, lengths = random_texts()
    flat = torch.cat([row[:length] for row, length in zip(tokens, lengths, strict=True)])
    offsets = torch.cumsum(lengths, 0) - lengths
    bags = nn.functional.embedding_bag(flat, model.embedding.weight, offsets, mode=pooling)
    torch.testing.assert_close(model(tokens, lengths), model.classifier[1](bags), atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_rnn_is_torchs_over_packed_sequences(cell: Any, pooling: Any) -> None:
    model = TextRNN(20, 3, cell=cell, embedding=8, hidden=6, layers=1, pooling=pooling)
    kinds: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU}
    known = kinds[cell](8, 6, bidirectional=True)
    forward, backward = (layer.state_dict() for layer in model.layers[0])  # type: ignore[union-attr]
    known.load_state_dict({**forward, **{f"{name}_reverse": value for name, value in backward.items()}})
    tokens, lengths = random_texts()
    packed = nn.utils.rnn.pack_padded_sequence(model.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
    outputs, state = known(packed)
    last = state[0] if cell == "lstm" else state  # (2, N, 6)
    summed = nn.utils.rnn.pad_packed_sequence(outputs)[0].sum(0)
    features = torch.cat([last[0], last[1]], 1) if pooling == "last" else summed / lengths[:, None]
    torch.testing.assert_close(model(tokens, lengths), model.classifier(features), atol=1e-6, rtol=0)


def test_the_cnn_by_hand() -> None:
    model = TextCNN(20, 3, embedding=4, kernels=[1, 3], filters=2).eval()
    tokens, lengths = random_texts(9)
    for row, length, logits in zip(tokens, lengths.tolist(), model(tokens, lengths), strict=True):
        vectors = torch.zeros(max(length, 3), 4)
        vectors[:length] = model.embedding(row[:length])
        features: list[Tensor] = []
        for convolution in model.convolutions:
            width = convolution.kernel_size[0]
            places = range(max(1, length - width + 1))
            maps = [(vectors[at : at + width].T * convolution.weight).sum((1, 2)) + convolution.bias for at in places]
            features.append(torch.stack(maps).relu().amax(0))
        torch.testing.assert_close(logits, model.classifier(torch.cat(features)), atol=1e-6, rtol=0)


def test_dropout_in_training_only() -> None:
    tokens, lengths = random_texts()
    for model in (EmbeddingBag(20, 3, dropout=0.5, hidden=9), TextRNN(20, 3, dropout=0.5), TextCNN(20, 3)):
        assert not torch.equal(model(tokens, lengths), model(tokens, lengths))
        model.eval()
        assert torch.equal(model(tokens, lengths), model(tokens, lengths))


def test_scores_add_up_to_scikit_learns() -> None:
    task = TextClassification({"labels": ["a", "b", "c"], "words": ["w"] * 20})
    assert task.sizes == {"vocabulary": 20, "classes": 3}
    assert isinstance(task, Classifies)
    assert isinstance(task, Predicts)
    torch.manual_seed(0)
    model = EmbeddingBag(20, 3).requires_grad_(False)
    tokens, lengths = random_texts(30)
    targets = torch.randint(0, 3, (30,))
    parts = [task.score(model, Documents(tokens[s], lengths[s], targets[s]), None).counts
             for s in (slice(0, 7), slice(7, 30))]  # fmt: skip
    report = task.report({name: parts[0][name] + parts[1][name] for name in parts[0]})
    logits = model(tokens, lengths)
    macro = precision_recall_fscore_support(targets, logits.argmax(1), average="macro", zero_division=0)
    assert {name: report[name] for name in list(report)[:5]} == pytest.approx(
        {
            "accuracy": float((logits.argmax(1) == targets).double().mean()),
            "loss": float(nn.functional.cross_entropy(logits, targets)),
            "macro_precision": macro[0],
            "macro_recall": macro[1],
            "macro_f1": macro[2],
        },
        rel=1e-6,
    )


# --- runs


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, Any]:
    """A config that trains in well under a second: 48 texts in 7 batches, whose first word tells the label."""
    write_table(tmp_path / "t.csv")
    return {
        "task": "text_classification",
        "data": {"name": "labelled_text", "training": ["t.csv"], "root": str(tmp_path), "batch_size": 7},
        "model": {"name": "embedding_bag", "embedding": 8},
        "optimizer": {"name": "adam", "learning_rate": 0.05},
        "trainer": {"epochs": 3, "device": "cpu", "threads": 1, "log_every_steps": 3, "checkpoint_every_steps": 4},
    }


def test_a_run_learns_and_its_checkpoint_reads_texts(
    texts: dict[str, Any], write_settings: Write, tmp_path: Path
) -> None:
    texts["trainer"]["epochs"] = 12
    run_once(write_settings(texts), tmp_path / "run", Interrupts())
    (tmp_path / "t.csv").rename(tmp_path / "kept.csv")
    trained = load_trained(find_checkpoint(tmp_path / "run"))
    reader = TextReader(trained.record.assets)
    given = list(reader.read(["-"], iter(["apple egg\n", "Bread, fig\n", "cheese\n"])))
    assert isinstance(trained.task, Predicts)
    with torch.inference_mode():
        probabilities = trained.task.probabilities(trained.model, *reader.inputs([one.value for one in given]))
    assert [trained.task.labels[number] for number in probabilities.argmax(1)] == ["a", "b", "c"]
    numpy.testing.assert_allclose(probabilities.sum(1).numpy(), 1, rtol=1e-6)
    (tmp_path / "kept.csv").rename(tmp_path / "t.csv")
    assert trained.task.report(trained.counts(trained.dataset().test()))["accuracy"] == 1.0


def test_the_command_line_evaluates_and_names_a_wrong_column(
    texts: dict[str, Any], write_settings: Write, dltrain: Callable[..., Any], tmp_path: Path
) -> None:
    texts["trainer"]["epochs"] = 12
    config = write_settings(texts)
    run_once(config, tmp_path / "run", Interrupts())
    evaluated = dltrain("eval", "run", "--require", "accuracy>=1")
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stdout.startswith("test split of labelled_text, checkpoint step-")
    assert (tmp_path / "run" / "plots" / "confusion-test.png").is_file()
    assert lines(tmp_path / "run" / "evaluations.jsonl")[0]["classes"]["a"]["f1"] == 1.0
    wrong = dltrain("fit", config, "-o", "other", "--set", "data.text=texts")
    assert wrong.returncode == 3
    assert "no column 'texts' (data.text); found 'text', 'label', 'author'\ndid you mean 'text'?" in wrong.stderr
