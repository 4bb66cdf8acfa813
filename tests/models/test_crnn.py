"""The convolutional recurrent acoustic model: shapes, padding that changes nothing, and learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.models.crnn import CRNN, Bidirectional, Subsampling, index_reversed
from dltrain.models.layers import mark_valid

BANDS, ALPHABET = 10, 6
FRAMES = torch.tensor([37, 24, 5, 1])


def clips(seed: int = 0) -> Tensor:
    """Four clips of FRAMES frames (4, 37, BANDS), zero after their end."""
    features = torch.randn(4, 37, BANDS, generator=torch.Generator().manual_seed(seed))
    return features * mark_valid(FRAMES, 37)[:, :, None]


def model(subsampling: int = 4, **options: Any) -> CRNN:
    torch.manual_seed(0)
    return CRNN(BANDS, ALPHABET, subsampling, **{"channels": [4, 4], "hidden": 8, **options})


SMALL: list[dict[str, Any]] = [
    {},
    {"cell": "gru", "layer_norm": False},
    {"channels": [4], "layers": 1},
    {"channels": [4, 4, 3], "layers": 3},
]


@pytest.mark.parametrize("subsampling", [2, 4])
@pytest.mark.parametrize("options", SMALL)
def test_padding_and_company_change_nothing(subsampling: int, options: dict[str, Any]) -> None:
    recogniser = model(subsampling, **options).eval()
    features = clips()
    together, lengths = recogniser(features, FRAMES)
    assert together.shape == (4, -(-37 // subsampling), ALPHABET)
    assert lengths.tolist() == [-(-frames // subsampling) for frames in FRAMES.tolist()]
    torch.testing.assert_close(together.exp().sum(2), torch.ones(together.shape[:2]))
    for number, (frames, length) in enumerate(zip(FRAMES.tolist(), lengths.tolist(), strict=True)):
        alone, _ = recogniser(features[number : number + 1, :frames], FRAMES[number : number + 1])
        assert alone.shape[1] == length
        torch.testing.assert_close(together[number, :length], alone[0], rtol=0, atol=1e-5)
    noisy, _ = recogniser(features + 7 * ~mark_valid(FRAMES, 37)[:, :, None], FRAMES)
    torch.testing.assert_close(noisy, together, rtol=0, atol=0)


def test_what_lies_outside_gets_no_gradient_and_all_within_does() -> None:
    features = clips().requires_grad_()
    scores, lengths = model(dropout=0.0)(features, FRAMES)
    scores[mark_valid(lengths, scores.shape[1])].square().sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad.abs().sum(2) > 0, mark_valid(FRAMES, 37))


def test_a_bidirectional_layer_is_torch_s_over_packed_sequences() -> None:
    torch.manual_seed(0)
    layer, frames = Bidirectional("lstm", 5, 3), torch.tensor([7, 4, 1])
    sequence = torch.randn(3, 7, 5)
    theirs = nn.LSTM(5, 3, batch_first=True, bidirectional=True)
    for name, weight in layer.forwards.named_parameters():
        getattr(theirs, name).data.copy_(weight.data)
    for name, weight in layer.backwards.named_parameters():
        getattr(theirs, f"{name}_reverse").data.copy_(weight.data)
    packed = nn.utils.rnn.pack_padded_sequence(sequence, frames, batch_first=True)
    expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    valid = mark_valid(frames, 7)
    torch.testing.assert_close(layer(sequence, index_reversed(frames, 7))[valid], expected[valid])


def test_clips_are_turned_round_within_their_frames() -> None:
    sequence = torch.arange(8).view(2, 4)
    reversal = index_reversed(torch.tensor([4, 3]), 4)
    assert sequence[reversal].tolist() == [[3, 2, 1, 0], [6, 5, 4, 7]]
    assert torch.equal(sequence[reversal][reversal], sequence)


def test_subsampling_is_its_convolutions_and_nothing_else() -> None:
    torch.manual_seed(0)
    front, features = Subsampling(BANDS, 4, [3, 5]), torch.randn(2, 9, BANDS)
    maps = features[:, None]
    for convolution in front.convolutions:
        maps = functional.pad(maps, (1, 1, 1, 1))
        maps = functional.conv2d(maps, convolution.weight, convolution.bias, stride=(2, 2)).relu()
    found, lengths = front(features, torch.tensor([9, 9]))
    torch.testing.assert_close(found, maps.permute(0, 2, 1, 3).reshape(2, 3, -1))
    assert lengths.tolist() == [3, 3]
    assert front.width == found.shape[2] == 5 * 3


@pytest.mark.parametrize("subsampling", [2, 4])
@pytest.mark.parametrize("channels", [[2], [2, 2], [2, 2, 2]])
def test_every_frame_reaches_the_output(subsampling: int, channels: list[int]) -> None:
    front = Subsampling(BANDS, subsampling, channels)
    features = torch.ones(1, 23, BANDS, requires_grad=True)
    for parameter in front.parameters():
        parameter.data.fill_(0.1)
    front(features, torch.tensor([23]))[0].sum().backward()
    assert features.grad is not None
    assert (features.grad > 0).all()


def test_parameters_are_those_of_the_architecture() -> None:
    """The reference: two convolutions of 32, two layers of 64 units, 80 bands and 29 characters."""
    convolutions = (9 + 1) * 32 + (9 * 32 + 1) * 32
    recurrent = sum(2 * 4 * 64 * (width + 64 + 2) for width in (32 * 20, 128))
    norms = 2 * (32 * 20 + 128 + 128)
    count = sum(parameter.numel() for parameter in CRNN(80, 29, 4).parameters())
    assert count == convolutions + recurrent + norms + 129 * 29


def test_dropout_is_for_training_alone() -> None:
    recogniser = model(dropout=0.5)
    assert not torch.equal(recogniser(clips(), FRAMES)[0], recogniser(clips(), FRAMES)[0])
    recogniser.eval()
    assert torch.equal(recogniser(clips(), FRAMES)[0], recogniser(clips(), FRAMES)[0])
