"""The Conformer: shapes, padding that changes nothing, relative positions, and learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dltrain.models.conformer import Attention, ConformerCTC, ConvolutionModule, compute_rotation
from dltrain.models.layers import mark_valid, rotate

BANDS, ALPHABET = 10, 6
FRAMES = torch.tensor([37, 24, 5, 1])


def clips() -> Tensor:
    """Four clips of FRAMES frames (4, 37, BANDS), zero after their end."""
    features = torch.randn(4, 37, BANDS, generator=torch.Generator().manual_seed(0))
    return features * mark_valid(FRAMES, 37)[:, :, None]


def model(subsampling: int = 4, **options: Any) -> ConformerCTC:
    torch.manual_seed(0)
    small = {"channels": [4, 4], "width": 16, "heads": 2, "layers": 2, "kernel": 5}
    return ConformerCTC(BANDS, ALPHABET, subsampling, **{**small, **options})


@pytest.mark.parametrize("subsampling", [2, 4])
def test_padding_and_company_change_nothing(subsampling: int) -> None:
    recogniser = model(subsampling).eval()
    features = clips()
    together, lengths = recogniser(features, FRAMES)
    assert together.shape == (4, -(-37 // subsampling), ALPHABET)
    assert lengths.tolist() == [-(-frames // subsampling) for frames in FRAMES.tolist()]
    torch.testing.assert_close(together.exp().sum(2), torch.ones(together.shape[:2]))
    for number, (frames, length) in enumerate(zip(FRAMES.tolist(), lengths.tolist(), strict=True)):
        alone, _ = recogniser(features[number : number + 1, :frames], FRAMES[number : number + 1])
        torch.testing.assert_close(together[number, :length], alone[0], rtol=0, atol=1e-5)
    noisy, noisy_lengths = recogniser(features + 7 * ~mark_valid(FRAMES, 37)[:, :, None], FRAMES)
    valid = mark_valid(noisy_lengths, noisy.shape[1])
    torch.testing.assert_close(noisy[valid], together[valid], rtol=0, atol=1e-5)


def test_what_lies_outside_gets_no_gradient_and_all_within_does() -> None:
    features = clips().requires_grad_()
    scores, lengths = model(dropout=0.0)(features, FRAMES)
    scores[mark_valid(lengths, scores.shape[1])].square().sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad.abs().sum(2) > 0, mark_valid(FRAMES, 37))


def test_products_of_turned_vectors_depend_on_the_distance_alone() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(8), torch.randn(8)
    turn = compute_rotation(20, 8, torch.device("cpu"))
    products = rotate(query.expand(20, 8), *turn) @ rotate(key.expand(20, 8), *turn).T
    torch.testing.assert_close(products[3:, 5:].diagonal(), products[0, 2].expand(15))
    assert not torch.isclose(products[0, 2], products[2, 0])
    torch.testing.assert_close(rotate(query.expand(20, 8), *turn).norm(dim=1), query.norm().expand(20))


def test_attention_is_its_formula() -> None:
    torch.manual_seed(0)
    attention, sequence = Attention(8, 2, 0.0), torch.randn(1, 6, 8)
    turn = compute_rotation(6, 4, torch.device("cpu"))
    valid = mark_valid(torch.tensor([4]), 6)
    parts = attention.projections(attention.norm(sequence)).view(6, 3, 2, 4)
    heads = []
    for head in range(2):
        queries, keys, values = (parts[:, part, head] for part in range(3))
        products = rotate(queries, *turn) @ rotate(keys, *turn).T / 4**0.5
        heads.append(products[:, :4].softmax(1) @ values[:4])
    expected = attention.output(torch.cat(heads, 1))
    torch.testing.assert_close(attention(sequence, valid, turn)[0], expected)


def test_the_convolution_module_sees_its_kernel_and_no_more() -> None:
    torch.manual_seed(0)
    module, sequence = ConvolutionModule(4, 5, 0.0), torch.randn(1, 15, 4, requires_grad=True)
    module(sequence, torch.ones(1, 15, dtype=torch.bool))[0, 7].sum().backward()
    assert sequence.grad is not None
    assert (sequence.grad[0].abs().sum(1) > 0).nonzero().flatten().tolist() == [5, 6, 7, 8, 9]


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="width 20 is not a multiple of 8, twice the number of heads"):
        model(width=20, heads=4)
    with pytest.raises(ValueError, match="kernel 4 is even, and would shift the frames: use 3 or 5"):
        model(kernel=4)
