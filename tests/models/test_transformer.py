"""The transformer against attention written out token by token, and its memory against one long reading."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dltrain.models.layers import rotate
from dltrain.models.transformer import TransformerBlock, TransformerLanguageModel

V = 19
HEADS = 2


def transformer(**options: Any) -> TransformerLanguageModel:
    torch.manual_seed(0)
    model = TransformerLanguageModel(V, **{"width": 12, "heads": HEADS, "layers": 2, "context": 5, **options}).eval()
    for parameter in model.parameters():  # large enough for attention to be far from even
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def text(steps: int, columns: int = 2) -> Tensor:
    return torch.randint(0, V, (steps, columns), generator=torch.Generator().manual_seed(1))


def attended(block: TransformerBlock, model: TransformerLanguageModel, features: Tensor) -> Tensor:
    """What one passage (T, width) of normalised features attends to, head by head and token by token."""
    queries, keys, values = functional.linear(features, block.attention.weight, block.attention.bias).chunk(3, 1)
    size = features.shape[1] // HEADS
    rows = []
    for query in range(len(features)):
        heads = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            reach = range(max(0, query - model.context + 1), query + 1)
            scores = []
            for key in reach:
                if model.distance_bias is not None:
                    score = queries[query, part] @ keys[key, part] / math.sqrt(size)
                    score = score + model.distance_bias[head, query - key]
                else:  # the rotation as multiplication by a complex number
                    q, k = (torch.complex(*vector[part].chunk(2)) for vector in (queries[query], keys[key]))
                    turns = [(query - key) * 10_000 ** (-2 * pair / size) for pair in range(size // 2)]
                    score = (q * k.conj() * torch.exp(1j * torch.tensor(turns))).sum().real / math.sqrt(size)
                scores.append(score)
            weights = torch.stack(scores).softmax(0)
            heads.append(sum(weight * values[key, part] for weight, key in zip(weights, reach, strict=True)))
        rows.append(torch.cat(heads))
    return torch.stack(rows)


def by_hand(model: TransformerLanguageModel, passage: Tensor) -> Tensor:
    """Features (T, width) of tokens (T,)."""
    features = model.embedding.weight[passage]
    for block in model.blocks:
        mixed = attended(block, model, block.attention_norm(features))
        features = features + mixed @ block.attention_output.weight.t() + block.attention_output.bias
        norm, widen, _, narrow = block.feed_forward
        wide = norm(features) @ widen.weight.t() + widen.bias
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        features = features + wide @ narrow.weight.t() + narrow.bias
    return model.norm(features)


every_position = pytest.mark.parametrize("positions", ["rotary", "learned"])


@every_position
@pytest.mark.parametrize("steps", [1, 5, 9])
def test_it_is_attention_written_out(positions: str, steps: int) -> None:
    model = transformer(positions=positions)
    found = model(text(steps), None).features
    for column in range(2):
        torch.testing.assert_close(found[:, column], by_hand(model, text(steps)[:, column]), rtol=1e-5, atol=1e-5)


@every_position
@pytest.mark.parametrize("cuts", [[1] * 14, [3, 11], [2, 1, 4, 1, 6], [5, 5, 4], [14]])
def test_memory_gives_what_reading_all_at_once_gives(positions: str, cuts: list[int]) -> None:
    model = transformer(positions=positions)
    whole = model(text(14), None).features
    state, features, read = None, [], 0
    for window in text(14).split(cuts):
        reading = model(window, state)
        state, read = reading.state, read + len(window)
        features.append(reading.features)
        assert {memory.shape for memory in state} == {(min(4, read), 2, 2, HEADS, 6)}
    torch.testing.assert_close(torch.cat(features), whole, rtol=1e-5, atol=1e-5)


@every_position
def test_a_token_sees_its_context_and_no_more(positions: str) -> None:
    model = transformer(positions=positions, layers=1)
    tokens = text(9, 1)
    plain = model(tokens, None).features
    for changed in range(9):
        other = tokens.clone()
        other[changed] = (other[changed] + 1) % V
        differs = [not torch.equal(a, b) for a, b in zip(model(other, None).features, plain, strict=True)]
        assert differs == [changed <= place < changed + 5 for place in range(9)]


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    frequencies = torch.tensor([1.0, 0.3, 0.1, 0.01], dtype=torch.float64)

    def turned(vector: Tensor, place: int) -> Tensor:
        angles = (place * frequencies)[None, None, None]
        return rotate(vector, angles.cos(), angles.sin()).flatten()

    torch.testing.assert_close(turned(query, 11).norm(), query.norm())
    products = [turned(query, place + 7) @ turned(key, place) for place in (0, 5, 100)]
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2])


def test_initial_weights_are_gpt_2s() -> None:
    torch.manual_seed(0)
    model = TransformerLanguageModel(500, width=128, heads=4, layers=8, tied=False)
    block = model.blocks[0]
    for weight, expected in [
        (model.embedding.weight, 0.02),
        (model.output.weight, 0.02),
        (block.attention.weight, 0.02),
        (block.feed_forward[1].weight, 0.02),
        (block.attention_output.weight, 0.005),
        (block.feed_forward[3].weight, 0.005),
    ]:
        assert abs(float(weight.detach().std()) / expected - 1) < 0.03
    assert all((parameter == 0).all() for name, parameter in model.named_parameters() if name.endswith("bias"))
    assert (model.norm.weight == 1).all()


def test_sizes_are_those_of_the_architecture() -> None:
    model = TransformerLanguageModel(V, width=12, heads=2, layers=2, feed_forward=20)
    block = 2 * 24 + 13 * 36 + 13 * 12 + 13 * 20 + 21 * 12
    assert sum(parameter.numel() for parameter in model.parameters()) == V * 12 + 2 * block + 24
    assert TransformerLanguageModel(V, width=12, heads=2).blocks[0].feed_forward[1].out_features == 48
    learned = TransformerLanguageModel(V, width=12, heads=2, positions="learned", context=7)
    assert learned.distance_bias.shape == (2, 7)


def test_dropout_acts_in_training_alone() -> None:
    model = transformer(dropout=0.5)
    assert torch.equal(model(text(4), None).features, model(text(4), None).features)
    model.train()
    assert not torch.equal(model(text(4), None).features, model(text(4), None).features)


def test_widths_that_heads_cannot_share_are_refused() -> None:
    with pytest.raises(ValueError, match="width: 5 heads cannot share 12 units: use a multiple of 5"):
        TransformerLanguageModel(V, width=12, heads=5)
    message = r"positions: rotary turns pairs of units, and each of 4 heads has 3 of the width 12: make it an even"
    with pytest.raises(ValueError, match=message):
        TransformerLanguageModel(V, width=12, heads=4)
    assert TransformerLanguageModel(V, width=12, heads=4, positions="learned").eval()(text(3), None).features.ndim == 3
