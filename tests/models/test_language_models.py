"""Recurrent models against torch's own and formulas by hand; what all language models have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from dltrain.models.language_rnn import AWDLSTM, RecurrentLanguageModel, drop_for_all_steps
from dltrain.models.output import AdaptiveSoftmax, NextTokenModel, Softmax, compute_cross_entropy
from dltrain.models.transformer import TransformerLanguageModel
from dltrain.tree import map_tensors

V = 23
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn_tanh": nn.RNN, "rnn_relu": nn.RNN}


def rnn(cell: str = "lstm", **options: Any) -> RecurrentLanguageModel:
    return RecurrentLanguageModel(V, cell=cell, hidden=16, **{"initial_range": 0.3, **options})


def awd(**options: Any) -> AWDLSTM:
    return AWDLSTM(V, embedding=10, hidden=14, **options)


def transformer(**options: Any) -> TransformerLanguageModel:
    return TransformerLanguageModel(V, width=16, heads=2, layers=2, **{"context": 6, "dropout": 0.3, **options})


MAKERS: dict[str, Callable[[], NextTokenModel]] = {
    **{cell: lambda cell=cell: rnn(cell, dropout=0.3) for cell in CELLS},
    "variational": lambda: rnn(variational=True, dropout=0.3),
    "tied": lambda: rnn(tied=True, output_bias=False),
    "adaptive": lambda: rnn(adaptive_cutoffs=[12]),
    "awd_lstm": awd,
    "rotary": transformer,
    "learned": lambda: transformer(positions="learned", tied=False, output_bias=True),
}
every_model = pytest.mark.parametrize("name", MAKERS)


def made(name: str) -> NextTokenModel:
    torch.manual_seed(0)
    return MAKERS[name]()


def text(steps: int, columns: int, seed: int = 1) -> Tensor:
    return torch.randint(0, V, (steps, columns), generator=torch.Generator().manual_seed(seed))


def loss(model: NextTokenModel, tokens: Tensor, targets: Tensor, state: Any = None) -> Tensor:
    reading = model(tokens, state)
    return model.nats(reading.features.flatten(0, 1), targets.flatten()).mean() + (reading.penalty or 0)


def parts(state: Any) -> list[Tensor]:
    found: list[Tensor] = []
    map_tensors(state, lambda part: found.append(part) or part)
    return found


# What all have in common


@every_model
def test_probabilities_sum_to_one_and_nats_are_the_targets_share(name: str) -> None:
    model = made(name).eval()
    reading = model(text(9, 3), None)
    assert reading.features.shape[:2] == (9, 3)
    assert reading.penalty is None
    features, targets = reading.features.flatten(0, 1), text(9, 3, 2).flatten()
    log_probabilities = model.log_probabilities(features)
    assert log_probabilities.shape == (27, V)
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(27))
    nats = model.nats(features, targets)
    assert nats.dtype == log_probabilities.dtype == torch.float32
    torch.testing.assert_close(nats, -log_probabilities[torch.arange(27), targets])


@every_model
def test_a_state_carried_over_windows_gives_one_long_window(name: str) -> None:
    model = made(name).eval()
    tokens = text(17, 3)
    whole = model(tokens, None)
    for cuts in ([9, 8], [1, 1, 7, 1, 4, 3], [1] * 17):
        state, features = None, []
        for window in tokens.split(cuts):
            reading = model(window, state)
            state = reading.state
            features.append(reading.features)
        torch.testing.assert_close(torch.cat(features), whole.features, rtol=1e-5, atol=1e-5)
        for mine, expected in zip(parts(state), parts(whole.state), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


@every_model
def test_columns_are_independent_and_a_state_can_be_repeated_along_its_second_dimension(name: str) -> None:
    model = made(name).eval()
    tokens = text(5, 3)
    other = tokens.clone()
    other[:, 1] = (other[:, 1] + 1) % V
    before, after = model(tokens, None), model(other, None)
    torch.testing.assert_close(before.features[:, [0, 2]], after.features[:, [0, 2]])
    assert not torch.allclose(before.features[:, 1], after.features[:, 1])
    thrice = map_tensors(model(tokens[:, :1], None).state, lambda part: part.repeat_interleave(3, 1))
    following = text(1, 1, 3)
    many = model(following.expand(1, 3), thrice).features
    one = model(following, map_tensors(thrice, lambda part: part[:, :1])).features
    torch.testing.assert_close(many, one.expand(1, 3, -1))


@every_model
def test_a_state_is_plain_tuples_of_tensors(name: str) -> None:
    def check(state: Any) -> None:
        assert type(state) is tuple
        for part in state:
            if not isinstance(part, Tensor):
                check(part)
            else:
                assert part.shape[1] == 3

    check(made(name)(text(4, 3), None).state)


@every_model
def test_other_weights_can_stand_in_for_the_models_own(name: str) -> None:
    model, other = made(name).eval(), made(name).eval()
    for parameter in other.parameters():
        parameter.data.mul_(1.5)
    weights = dict(other.named_parameters())
    expected = other(text(4, 2), None)
    found = functional_call(model, weights, (text(4, 2), None))
    torch.testing.assert_close(found.features, expected.features)
    one = functional_call(model, weights, (text(1, 2), expected.state)).features
    torch.testing.assert_close(one, other(text(1, 2), expected.state).features)


@every_model
def test_bfloat16_is_close_and_goes_on_from_its_own_state(name: str) -> None:
    model = made(name).eval()
    tokens, targets = text(8, 3), text(8, 3, 2)
    expected = loss(model, tokens, targets, model(tokens, None).state)
    with torch.autocast("cpu", torch.bfloat16):
        state = model(tokens, None).state
        found = loss(model, tokens, targets, state)
        one = model(tokens[:1], state)
        torch.testing.assert_close(one.features.float(), model(tokens, state).features[:1].float(), rtol=0.1, atol=0.1)
        log_probabilities = model.log_probabilities(one.features[0])
        model.train()
        loss(model, tokens, targets, state).backward()
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0.03)
    assert log_probabilities.dtype == torch.float32
    torch.testing.assert_close(log_probabilities.exp().sum(1), torch.ones(3))
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_model
def test_cuda_gives_the_cpus_features_and_gradients_outside_training_too(name: str) -> None:
    tokens, targets = text(8, 3), text(8, 3, 2)
    results = []
    for device in ("cpu", "cuda"):
        model = made(name).eval().to(device)
        loss(model, tokens.to(device), targets.to(device), model(tokens.to(device), None).state).backward()
        results.append([parameter.grad.cpu() for parameter in model.parameters()])
        model.train()
        loss(model, tokens.to(device), targets.to(device)).backward()
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-3, atol=1e-4)


# Output layers


@pytest.mark.parametrize("bias", [False, True])
def test_cross_entropy_and_its_gradients_are_those_of_the_separate_layers(bias: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(V, 5, dtype=torch.float64, requires_grad=True)
    biases = torch.randn(V, dtype=torch.float64, requires_grad=True) if bias else None
    targets = torch.randint(0, V, (8,))
    leaves = [features, weight, *([biases] if biases is not None else [])]
    upstream = torch.randn(8, dtype=torch.float64)
    found = compute_cross_entropy(features, weight, biases, targets)
    expected = functional.cross_entropy(functional.linear(features, weight, biases), targets, reduction="none")
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(expected, leaves, upstream)
    for mine, its in zip(torch.autograd.grad(found, leaves, upstream), gradients, strict=True):
        torch.testing.assert_close(mine, its)


def test_cross_entropy_of_what_is_all_but_impossible_is_exact() -> None:
    features = torch.tensor([[0.0], [300.0]])
    weight = torch.tensor([[0.0], [1.0], [-1.0]])
    found = compute_cross_entropy(features, weight, None, torch.tensor([2, 2]))
    torch.testing.assert_close(found, torch.tensor([math.log(3), 600.0]))


def test_a_second_backward_pass_is_refused_not_wrong() -> None:
    weight = torch.randn(V, 5, requires_grad=True)
    nats = compute_cross_entropy(torch.randn(3, 5), weight, None, torch.tensor([1, 2, 3])).sum()
    nats.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        nats.backward()


@pytest.mark.parametrize("bias", [False, True])
def test_adaptive_softmax_is_torchs(bias: bool) -> None:
    torch.manual_seed(0)
    mine = AdaptiveSoftmax(16, V, [4, 9], head_bias=bias)
    its = nn.AdaptiveLogSoftmaxWithLoss(16, V, [4, 9], head_bias=bias)
    its.load_state_dict(mine.state_dict())
    features, targets = torch.randn(60, 16, requires_grad=True), torch.randint(0, V, (60,))
    nats, expected = mine.nats(features, targets), its(features, targets)
    torch.testing.assert_close(nats, -expected.output)
    torch.testing.assert_close(mine.log_probabilities(features), its.log_prob(features))
    gradients = torch.autograd.grad(expected.loss, [features, *its.parameters()])
    for found, wanted in zip(torch.autograd.grad(nats.mean(), [features, *mine.parameters()]), gradients, strict=True):
        torch.testing.assert_close(found, wanted)


def test_an_empty_cluster_costs_nothing_and_has_gradients() -> None:
    layer = AdaptiveSoftmax(16, V, [4, 9])
    layer.nats(torch.randn(3, 16), torch.tensor([0, 1, 5])).sum().backward()
    assert [int((parameter.grad != 0).any()) for parameter in layer.tail[1].parameters()] == [0, 0]


def test_tied_weights_are_one_parameter_with_both_gradients() -> None:
    torch.manual_seed(0)
    tied, apart = rnn(tied=True), rnn()
    apart.load_state_dict(tied.state_dict())
    assert tied.output.weight is tied.embedding.weight
    assert sum(parameter.numel() for parameter in tied.parameters()) == V * 16 + 2 * (4 * 16 * 34) + V
    tokens, targets = text(5, 2), text(5, 2, 2)
    loss(tied, tokens, targets).backward()
    loss(apart, tokens, targets).backward()
    both = apart.embedding.weight.grad + apart.output.weight.grad
    torch.testing.assert_close(tied.embedding.weight.grad, both)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnn(tied=True, embedding=8),
         r"tied: the output layer reads 16 features \(hidden\) and the embedding has 8: set embedding to 16, hidden to "
         "8, or tied to false"),
        (lambda: rnn(tied=True, adaptive_cutoffs=[5]), "tied: an adaptive softmax has weights of its own: set tied to"),
        (lambda: rnn(adaptive_cutoffs=[9, 4]), r"adaptive_cutoffs: \[9, 4\] must rise, and end below the 23 tokens"),
        (lambda: rnn(adaptive_cutoffs=[4, V]), r"adaptive_cutoffs: \[4, 23\] must rise, and end below the 23 tokens"),
        (lambda: rnn(adaptive_cutoffs=[2, 4, 8]), "and 16 features suffice for 2, not for 3: give fewer cutoffs or"),
    ],
)  # fmt: skip
def test_output_layers_that_do_not_fit_are_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# Recurrent models


@pytest.mark.parametrize("cell", CELLS)
def test_rnn_is_torchs_stack_of_layers(cell: str) -> None:
    torch.manual_seed(0)
    model = rnn(cell, embedding=7, layers=3)
    options = {"nonlinearity": cell[4:]} if cell.startswith("rnn") else {}
    stack = CELLS[cell](7, 16, num_layers=3, **options)
    for number, layer in enumerate(model.layers):
        for name, parameter in layer.named_parameters():
            getattr(stack, name.replace("l0", f"l{number}")).data.copy_(parameter)
    tokens, targets = text(8, 3), text(8, 3, 2)
    outputs, state = stack(model.embedding(tokens))
    reading = model(tokens, None)
    torch.testing.assert_close(reading.features, outputs)
    h = torch.cat([part[0] if cell == "lstm" else part for part in reading.state])
    torch.testing.assert_close(h, state[0] if cell == "lstm" else state)
    logits = outputs @ model.output.weight.t() + model.output.bias
    expected = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(loss(model, tokens, targets), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_single_steps_are_the_same_to_the_last_digits(cell: str) -> None:
    torch.manual_seed(0)
    model = rnn(cell).eval()
    tokens = text(6, 2)
    whole = model(tokens, None).features
    state = model(tokens[:1], None).state
    for step in range(1, 6):
        reading = model(tokens[step : step + 1], state)
        state = reading.state
        torch.testing.assert_close(reading.features[0], whole[step], rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_weight_drop_leaves_dropped_recurrent_weights_without_a_gradient(cell: str) -> None:
    torch.manual_seed(0)
    model = rnn(cell, weight_drop=0.25)
    reading = model(text(9, 5), None)
    reading.features.square().sum().backward()
    kept = torch.cat([(layer.weight_hh_l0.grad != 0).flatten() for layer in model.layers]).float().mean()
    assert abs(kept - 0.75) < 0.04
    plain = rnn(cell).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(text(9, 5), None).features, plain(text(9, 5), None).features)


def test_the_initial_range_bounds_all_weights_and_null_leaves_torchs() -> None:
    torch.manual_seed(0)
    for parameter in rnn(initial_range=0.02).parameters():
        assert 0 < parameter.abs().max() <= 0.02
    assert rnn(initial_range=None).embedding.weight.std() > 0.8


def zeros_after_dropout(model: NextTokenModel) -> list[Tensor]:
    """Where two windows' features are zero, (T, N, H) each."""
    torch.manual_seed(3)
    return [model(text(5, 4), None).features == 0 for _ in range(2)]


def test_variational_dropout_is_the_same_over_time_and_differs_over_columns_and_windows() -> None:
    first, second = zeros_after_dropout(rnn(variational=True, dropout=0.5))
    assert torch.equal(first, first[:1].expand_as(first))
    assert 0.3 < first.float().mean() < 0.7
    assert not torch.equal(first[0, 0], first[0, 1])
    assert not torch.equal(first[0], second[0])


def test_plain_dropout_differs_over_time() -> None:
    first, _ = zeros_after_dropout(rnn(dropout=0.5))
    assert not torch.equal(first[0], first[1])


def test_locked_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropped = drop_for_all_steps(torch.ones(3, 200, 50), 0.2, training=True)
    assert sorted(set(dropped.flatten().tolist())) == [0.0, 1.25]
    assert abs(dropped.mean() - 1) < 0.02
    assert torch.equal(drop_for_all_steps(dropped, 0.9, training=False), dropped)


def test_dropout_falls_away_outside_training() -> None:
    for model in (rnn(dropout=0.9), awd(), transformer(dropout=0.9)):
        model.eval()
        assert torch.equal(model(text(4, 2), None).features, model(text(4, 2), None).features)


# AWD-LSTM

QUIET = {
    "weight_drop": 0.0, "embedding_dropout": 0.0, "input_dropout": 0.0, "hidden_dropout": 0.0, "output_dropout": 0.0,
}  # fmt: skip


def chain(model: AWDLSTM, tokens: Tensor) -> Tensor:
    """The outputs of its layers as plain LSTMs."""
    features = model.embedding(tokens)
    for layer in model.layers:
        plain = nn.LSTM(layer.input_size, layer.hidden_size)
        plain.load_state_dict(layer.state_dict())
        features, _ = plain(features)
    return features


def test_awd_lstm_without_dropout_is_a_chain_of_lstms() -> None:
    torch.manual_seed(0)
    model = awd(**QUIET)
    assert [(layer.input_size, layer.hidden_size) for layer in model.layers] == [(10, 14), (14, 14), (14, 10)]
    expected = chain(model, text(6, 3))
    torch.testing.assert_close(model(text(6, 3), None).features, expected)
    torch.testing.assert_close(model.eval()(text(6, 3), None).features, expected)


def test_the_papers_sizes() -> None:
    with torch.device("meta"):
        model = AWDLSTM(10_000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 24_221_600  # 24M in the paper


def test_weight_drop_zeroes_its_share_scales_the_rest_and_teaches_the_raw_weights() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(V, embedding=32, layers=1, **{**QUIET, "weight_drop": 0.4})
    layer = model.layers[0]
    reading = model(text(6, 3), None)
    reading.features.square().sum().backward()
    kept = layer.weight_hh_l0.grad != 0
    assert abs(kept.float().mean() - 0.6) < 0.03
    assert (layer.weight_ih_l0.grad != 0).all()
    layer.weight_hh_l0.data *= kept / 0.6
    torch.testing.assert_close(chain(model, text(6, 3)), reading.features)
    model.eval()
    layer.weight_hh_l0.grad = None
    nn.init.uniform_(layer.weight_hh_l0, -0.1, 0.1)
    reading = model(text(6, 3), None)
    torch.testing.assert_close(chain(model, text(6, 3)), reading.features)
    reading.features.square().sum().backward()
    assert (layer.weight_hh_l0.grad != 0).all()


def test_embedding_dropout_drops_whole_words_wherever_they_stand() -> None:
    torch.manual_seed(0)
    model = AWDLSTM(V, embedding=8, layers=1, **{**QUIET, "embedding_dropout": 0.5})
    tokens = text(30, 4)
    ratio = model._embedded(tokens) / model.embedding(tokens)
    assert torch.equal(ratio, ratio[..., :1].expand_as(ratio))
    by_word = [set(ratio[tokens == word][:, 0].tolist()) for word in tokens.unique()]
    assert all(len(values) == 1 for values in by_word)
    assert set.union(*by_word) == {0.0, 2.0}


def test_penalties_are_the_formulas() -> None:
    torch.manual_seed(0)
    options = {"activation_regularization": 3.0, "temporal_activation_regularization": 5.0}
    model = awd(**{**QUIET, "output_dropout": 0.5}, **options)
    reading = model(text(6, 3), None)
    outputs = chain(model, text(6, 3))
    assert (reading.features == 0).any()
    expected = 3 * (reading.features**2).mean() + 5 * ((outputs[1:] - outputs[:-1]) ** 2).mean()
    torch.testing.assert_close(reading.penalty, expected)
    assert model.eval()(text(6, 3), None).penalty is None


def test_a_passage_of_one_token_has_no_change_to_penalise() -> None:
    torch.manual_seed(0)
    reading = awd(**QUIET)(text(1, 3), None)
    torch.testing.assert_close(reading.penalty, 2 * reading.features.square().mean())


def test_softmax_is_the_plain_output() -> None:
    assert isinstance(rnn().output, Softmax)
    assert isinstance(awd(output_bias=False).output, Softmax)
    assert awd(output_bias=False).output.bias is None
