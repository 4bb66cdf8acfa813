"""Layers written down: each against torch's own, inferred shapes against real ones, padding, order, training."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dltrain.architecture.layers import LAYERS
from dltrain.architecture.plan import Misfit, chain_layers, lay_out, read_layers
from dltrain.architecture.shapes import ExampleShape, Length
from dltrain.models.sequential import Sequential, Stack, build_layer

Write = Callable[[Mapping[str, Any]], Path]
SIZES = {"vocabulary": 20, "classes": 5}
IMAGES = {"image_channels": 1, "height": 28, "width": 28, "classes": 10}
TEXTS = ExampleShape((Length(),), tokens=True)


def stack(layers: list[Any], before: ExampleShape) -> Stack:
    torch.manual_seed(0)
    return Stack(chain_layers(read_layers(layers), before, SIZES), SIZES)


def run(layers: list[Any], inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """What layers make of inputs of a fixed shape, and their parameters."""
    made = stack(layers, ExampleShape(tuple(inputs.shape[1:])))
    return made(inputs, None)[0], list(made.parameters())


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


IMAGE, SEQUENCE, FEATURES = numbers(3, 6, 9, 8), numbers(3, 10, 6), numbers(3, 12)


def called(value: Any) -> str:
    """A short name of a test's parameter."""
    if isinstance(value, Tensor):
        return "x".join(map(str, value.shape))
    return "torch" if callable(value) else str(value)


@pytest.mark.parametrize(
    ("layer", "inputs", "by_torch"),
    [
        ({"dense": 4}, FEATURES, functional.linear),
        ({"dense": {"units": 4, "bias": False}}, FEATURES, functional.linear),
        ({"dense": 4}, SEQUENCE, functional.linear),
        ({"dense": "classes"}, FEATURES, functional.linear),
        ({"conv2d": 4}, IMAGE, functional.conv2d),
        ({"conv2d": {"filters": 4, "kernel": [3, 5], "stride": [2, 1], "padding": 1, "dilation": 2, "groups": 2}},
         IMAGE,
         lambda x, w, b: functional.conv2d(x, w, b, (2, 1), 1, 2, 2)),
        ({"conv2d": {"filters": 4, "padding": "same", "dilation": 2, "bias": False}}, IMAGE,
         lambda x, w: functional.conv2d(x, w, padding="same", dilation=2)),
        ({"conv2d": {"filters": 4, "kernel": [4, 3], "padding": "same"}}, IMAGE,
         lambda x, w, b: functional.conv2d(functional.pad(x, (1, 1, 1, 2)), w, b)),
        ({"conv2d": {"filters": 4, "stride": 2, "padding": "same"}}, IMAGE,
         lambda x, w, b: functional.conv2d(x, w, b, 2, 1)),
        ({"conv1d": 4}, SEQUENCE, lambda x, w, b: functional.conv1d(x.mT, w, b).mT),
        ({"conv1d": {"filters": 4, "kernel": 4, "padding": "same", "groups": 2}}, SEQUENCE,
         lambda x, w, b: functional.conv1d(functional.pad(x.mT, (1, 2)), w, b, groups=2).mT),
        ({"conv1d": {"filters": 4, "stride": 2, "padding": 2, "dilation": 3, "bias": False}}, SEQUENCE,
         lambda x, w: functional.conv1d(x.mT, w, None, 2, 2, 3).mT),
        ("max_pool", IMAGE, lambda x: functional.max_pool2d(x, 2)),
        ({"max_pool": {"window": [3, 2], "stride": 1, "padding": 1}}, IMAGE,
         lambda x: functional.max_pool2d(x, (3, 2), 1, 1)),
        ({"max_pool": 3}, SEQUENCE, lambda x: functional.max_pool1d(x.mT, 3).mT),
        ({"max_pool": {"window": 3, "stride": 2, "padding": 1}}, SEQUENCE,
         lambda x: functional.max_pool1d(x.mT, 3, 2, 1).mT),
        ({"avg_pool": [2, 3]}, IMAGE, lambda x: functional.avg_pool2d(x, (2, 3))),
        ({"avg_pool": {"window": 3, "stride": 2}}, SEQUENCE, lambda x: functional.avg_pool1d(x.mT, 3, 2).mT),
        ("global_avg_pool", IMAGE, lambda x: x.mean((2, 3))),
        ("global_max_pool", IMAGE, lambda x: x.amax((2, 3))),
        ("global_avg_pool", SEQUENCE, lambda x: x.mean(1)),
        ("global_max_pool", SEQUENCE, lambda x: x.amax(1)),
        ({"upsample": [2, 3]}, IMAGE, lambda x: x.repeat_interleave(2, 2).repeat_interleave(3, 3)),
        ({"batch_norm": {"epsilon": 0.1}}, IMAGE,
         lambda x, w, b: functional.batch_norm(x, None, None, w, b, True, eps=0.1)),
        ("batch_norm", SEQUENCE, lambda x, w, b: functional.batch_norm(x.mT, None, None, w, b, True).mT),
        ("batch_norm", FEATURES, lambda x, w, b: functional.batch_norm(x, None, None, w, b, True)),
        ("layer_norm", IMAGE, lambda x, w, b: functional.layer_norm(x, x.shape[1:], w, b)),
        ({"layer_norm": 0.1}, SEQUENCE, lambda x, w, b: functional.layer_norm(x, x.shape[2:], w, b, 0.1)),
        ("layer_norm", FEATURES, lambda x, w, b: functional.layer_norm(x, x.shape[1:], w, b)),
        ({"group_norm": 3}, IMAGE, lambda x, w, b: functional.group_norm(x, 3, w, b)),
        ({"group_norm": 2}, SEQUENCE, lambda x, w, b: functional.group_norm(x.mT, 2, w, b).mT),
        ({"group_norm": {"groups": 4, "epsilon": 0.1}}, FEATURES,
         lambda x, w, b: functional.group_norm(x, 4, w, b, 0.1)),
        ("flatten", IMAGE, lambda x: x.reshape(3, -1)),
        ({"reshape": [6, 2]}, FEATURES, lambda x: x.reshape(3, 6, 2)),
        ({"reshape": ["classes", 1]}, numbers(2, 5), lambda x: x.reshape(2, 5, 1)),
        *((name, FEATURES, getattr(functional, name)) for name in ("relu", "leaky_relu", "elu", "gelu", "silu")),
        ("tanh", FEATURES, torch.tanh),
        ("sigmoid", FEATURES, torch.sigmoid),
        ({"residual": [{"dense": 12}]}, FEATURES, lambda x, w, b: x + functional.linear(x, w, b)),
        ({"residual": [{"dense": 4}]}, FEATURES,
         lambda x, w, b, v, c: functional.linear(x, w, b) + functional.linear(x, v, c)),
        ({"residual": [{"conv2d": {"filters": 4, "stride": 2, "padding": "same"}}]}, IMAGE,
         lambda x, w, b, v, c: functional.conv2d(x, w, b, 2, 1) + functional.conv2d(x, v, c, 2)),
        ({"residual": [{"max_pool": 2}, {"dense": 3}]}, SEQUENCE,
         lambda x, w, b, v, c: functional.linear(functional.max_pool1d(x.mT, 2).mT, w, b)
         + functional.linear(x[:, ::2], v, c)),
        ({"repeat": {"times": 2, "layers": [{"dense": 12}, "tanh"]}}, FEATURES,
         lambda x, w, b, v, c: functional.linear(functional.linear(x, w, b).tanh(), v, c).tanh()),
    ],
    ids=called,
)  # fmt: skip
def test_a_layer_is_torchs_own(layer: Any, inputs: Tensor, by_torch: Callable[..., Tensor]) -> None:
    found, parameters = run([layer], inputs)
    torch.testing.assert_close(found, by_torch(inputs, *parameters))


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [("rnn", {}, nn.RNN), ("rnn", {"activation": "relu"}, nn.RNN), ("lstm", {}, nn.LSTM), ("gru", {}, nn.GRU)],
)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("returns", ["last", "sequence"])
def test_recurrent_layers_are_torchs_packed_ones(
    name: str, options: dict[str, str], kind: Any, bidirectional: bool, returns: str
) -> None:
    layer = {name: {"units": 4, "bidirectional": bidirectional, "returns": returns, **options}}
    made = stack([layer], ExampleShape((Length(), 6)))
    lengths = torch.tensor([10, 1, 7])
    extra = {"nonlinearity": options["activation"]} if options else {}
    module = kind(6, 4, batch_first=True, bidirectional=bidirectional, **extra)
    for mine, torchs in zip(made.parameters(), module.parameters(), strict=True):
        torchs.data.copy_(mine)
    packed, state = module(pack_padded_sequence(SEQUENCE, lengths, True, enforce_sorted=False))
    found, after = made(SEQUENCE, lengths)
    if returns == "last":
        final = state[0] if isinstance(state, tuple) else state  # (directions, N, units)
        torch.testing.assert_close(found, torch.cat(list(final), 1))
        assert after is None
    else:
        expected, _ = pad_packed_sequence(packed, True)
        for mine, torchs, length in zip(found, expected, lengths.tolist(), strict=True):
            torch.testing.assert_close(mine[:length], torchs[:length])
        assert after is lengths


def test_embedding_and_dropout() -> None:
    made = stack([{"embedding": 3}, {"dropout": 0.5}], TEXTS)
    tokens = torch.tensor([[3, 4, 0], [19, 1, 2]])
    (table,) = made.parameters()
    torch.testing.assert_close(made.eval()(tokens, None)[0], table[tokens])
    dropped = made.train()(tokens, None)[0]
    kept = dropped != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(dropped[kept], 2 * table[tokens][kept])


def test_every_layer_that_can_be_written_can_be_built() -> None:
    for kind in LAYERS.values():
        assert build_layer.dispatch(kind) is not build_layer.dispatch(object)


# Shapes


def drawn_layers(draw: random.Random, kind: str, depth: int = 0) -> list[Any]:
    """Layers that may or may not fit together."""
    side = lambda: draw.choice([1, 2, 3, 4, [2, 3], [3, 1]]) if kind == "image" else draw.choice([1, 2, 3, 4])  # noqa: E731
    convolution = {
        "filters": draw.choice([4, 6]), "kernel": side(), "stride": side(), "padding": draw.choice([0, 1, 2, "same"]),
        "dilation": draw.choice([1, 1, 2]), "groups": draw.choice([1, 1, 2]),
    }  # fmt: skip
    recurrent = {"units": 4, "bidirectional": draw.random() < 0.5, "returns": draw.choice(["last", "sequence"])}
    choices: list[Any] = [
        {"dense": 6}, {"conv1d": convolution}, {"conv2d": convolution},
        {"avg_pool": {"window": side(), "stride": side()}},
        {"max_pool": {"window": side(), "stride": None, "padding": draw.choice([0, 1])}}, "layer_norm",
        {"group_norm": 2},
        "batch_norm", {draw.choice(["rnn", "lstm", "gru"]): recurrent}, "relu", "gelu", "flatten", "global_avg_pool",
        "global_max_pool", {"dropout": 0.1}, {"upsample": side()}, {"reshape": [2, 3, 2]}, {"reshape": [6, 2]},
    ]  # fmt: skip
    if depth < 2:
        inner = drawn_layers(draw, kind, depth + 1)
        choices += [{"residual": inner}, {"repeat": {"times": 2, "layers": inner}}] * 2
    return [draw.choice(choices) for _ in range(draw.randint(1, 4))]


def modules(placed: Any, made: Stack) -> list[tuple[Any, nn.Module]]:
    """Every placed layer with its module, those within blocks included."""
    pairs = []
    for each, module in zip(placed, made.children(), strict=True):
        pairs.append((each, module))
        if each.inside:
            inner = module.stack if each.name == "residual" else module
            assert isinstance(inner, Stack)
            pairs += modules(each.inside, inner)
    return pairs


@pytest.mark.parametrize("kind", ["image", "sequence", "features", "text"])
def test_inferred_shapes_are_the_real_ones(kind: str) -> None:
    before = {
        "image": ExampleShape((2, 13, 11)),
        "sequence": ExampleShape((9, 4)),
        "features": ExampleShape((12,)),
        "text": TEXTS,
    }[kind]
    lengths = torch.tensor([9, 2, 5]) if kind == "text" else None
    inputs = torch.randint(20, (3, 9)) if kind == "text" else torch.randn(3, *map(int, before.sizes))
    draw, tried, seen = random.Random(kind), 0, set()
    while tried < 150:
        layers = [{"embedding": 4}] * (kind == "text") + drawn_layers(draw, kind)
        try:
            placed = chain_layers(read_layers(layers), before, SIZES)
        except Misfit:
            continue
        tried += 1
        made = Stack(placed, SIZES)
        shapes: dict[nn.Module, tuple[int, ...]] = {}

        def note(module: nn.Module, given: Any, outputs: Any, shapes: Any = shapes) -> None:
            shapes[module] = tuple((outputs[0] if isinstance(outputs, tuple) else outputs).shape)

        pairs = modules(placed, made)
        for _, module in pairs:
            module.register_forward_hook(note)
        made(inputs, lengths)
        order = [module for _, module in pairs]
        for number, (each, module) in enumerate(pairs):
            following = order[number + 1] if number + 1 < len(order) else None
            if isinstance(following, nn.MaxPool2d) and shapes[module] == shapes[following]:
                continue  # a maximum was taken before its activation
            seen.add(each.name)
            inferred = each.after.sizes
            real = shapes[module][1:]
            assert len(real) == len(inferred), layers
            assert all(isinstance(size, Length) or size == found for size, found in zip(inferred, real, strict=True)), (
                layers
            )
    assert len(seen) > 8


@pytest.mark.parametrize("side", range(1, 9))
def test_what_torch_refuses_is_refused(side: int) -> None:
    """One number: all kernels, strides, paddings and dilations on a length, against torch."""
    for kernel, stride, padding, dilation in ((k, s, p, d) for k in range(1, 6) for s in (1, 2, 3) for p in (0, 1, 2)
                                              for d in (1, 2)):  # fmt: skip
        options = {"filters": 1, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        try:
            real = functional.conv1d(torch.ones(1, 1, side), torch.ones(1, 1, kernel), None, stride, padding, dilation)
        except RuntimeError:
            with pytest.raises(Misfit, match="its kernel spans"):
                chain_layers(read_layers([{"conv1d": options}]), ExampleShape((side, 1)), SIZES)
        else:
            (placed,) = chain_layers(read_layers([{"conv1d": options}]), ExampleShape((side, 1)), SIZES)
            assert placed.after.sizes == (real.shape[2], 1)


# Texts


@pytest.mark.parametrize(
    "layers",
    [
        [{"conv1d": {"filters": 4, "kernel": 4, "stride": 2}}, "relu", "global_max_pool"],
        [{"conv1d": {"filters": 4, "padding": "same", "dilation": 2}}, {"conv1d": 3}, "global_avg_pool"],
        [{"conv1d": {"filters": 4, "padding": 2}}, {"max_pool": {"window": 3, "stride": 2, "padding": 1}}, {"gru": 3}],
        [{"max_pool": 4}, {"dense": 3}, "global_max_pool"],
        [{"avg_pool": {"window": 4, "stride": 3}}, {"lstm": {"units": 2, "bidirectional": True}}],
        [{"residual": [{"conv1d": {"filters": 6, "padding": "same"}}, "layer_norm"]}, {"rnn": 2}],
        [{"lstm": {"units": 2, "bidirectional": True, "returns": "sequence"}}, {"conv1d": 3}, "global_avg_pool"],
    ],
    ids=called,
)
def test_padding_changes_nothing(layers: list[Any]) -> None:
    made = stack([{"embedding": 4}, *layers], TEXTS)
    texts = [torch.randint(1, 20, (length,)) for length in (1, 2, 3, 5, 9, 16)]
    alone = [made(text[None], torch.tensor([len(text)]))[0] for text in texts]
    for steps, filler in ((16, 0), (23, 7)):
        tokens = torch.full((len(texts), steps), filler)
        for row, text in zip(tokens, texts, strict=True):
            row[: len(text)] = text
        together = made(tokens, torch.tensor([len(text) for text in texts]))[0]
        torch.testing.assert_close(together, torch.cat(alone))
    together.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in made.parameters())


def test_a_mean_of_windows_is_of_a_texts_own_steps() -> None:
    made = stack([{"avg_pool": 4}], ExampleShape((Length(), 6)))
    found, lengths = made(SEQUENCE, torch.tensor([10, 3, 4]))
    torch.testing.assert_close(found[0, :2], torch.stack([SEQUENCE[0, :4].mean(0), SEQUENCE[0, 4:8].mean(0)]))
    torch.testing.assert_close(found[1, 0], SEQUENCE[1, :3].mean(0))
    assert lengths.tolist() == [2, 1, 1]


# Order and names


CNN = [{"conv2d": 8}, "relu", {"max_pool": 2}, {"conv2d": 6}, "tanh", {"max_pool": 2}, "gelu", {"max_pool": 2},
       "flatten", {"dense": "classes"}]  # fmt: skip


def test_layers_in_another_order_give_the_same_values_and_gradients() -> None:
    torch.manual_seed(0)
    model = Sequential(IMAGES, layers=CNN)
    calls = [list(run) if isinstance(run, nn.Sequential) else [run] for run in model.layers._runs]
    kinds = [type(module).__name__ for run in calls for module in run]
    assert kinds == ["Conv2d", "MaxPool2d", "ReLU", "Conv2d", "MaxPool2d", "Tanh", "GELU", "MaxPool2d", "Flatten",
                     "Linear"]  # fmt: skip
    images = torch.randn(4, 1, 28, 28)
    plain = nn.Sequential(*copy.deepcopy(list(model.layers.children())))
    torch.testing.assert_close(model(images), plain(images))
    model(images).square().sum().backward()
    plain(images).square().sum().backward()
    for mine, plains in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, plains.grad, rtol=1e-4, atol=1e-5)


def test_a_copy_shares_nothing_and_weights_are_called_after_their_layers() -> None:
    model = Sequential(IMAGES, layers=CNN)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    images = torch.randn(2, 1, 28, 28)
    assert not twin(images).any()
    assert model(images).any()
    assert list(model.state_dict()) == [f"layers.{name}.{part}" for name in ("1_conv2d", "4_conv2d", "10_dense")
                                        for part in ("weight", "bias")]  # fmt: skip


# Sizes of the tasks


@pytest.mark.parametrize(
    ("sizes", "layers", "inputs", "outputs"),
    [
        ({"inputs": 7, "outputs": 2}, [{"dense": 4}, "tanh", {"dense": "outputs"}], (torch.randn(3, 7),), (3, 2)),
        ({"channels": 2, "window": 6, "outputs": 3}, [{"gru": 4}, {"dense": "outputs"}],
         (torch.randn(3, 6, 2),), (3, 3)),
        ({"vocabulary": 9, "classes": 4}, [{"embedding": 5}, "global_avg_pool", {"dense": "classes"}],
         (torch.randint(9, (3, 6)), torch.tensor([6, 2, 1])), (3, 4)),
        ({"image_channels": 1, "height": 4, "width": 6},
         ["flatten", {"dense": 3}, {"dense": 24}, {"reshape": ["image_channels", "height", "width"]}],
         (torch.randn(3, 1, 4, 6),), (3, 1, 4, 6)),
        ({"image_channels": 3, "height": 8, "width": 8, "classes": 2}, ["global_avg_pool", {"dense": "classes"}],
         (torch.randn(3, 3, 8, 8),), (3, 2)),
    ],
    ids=["table", "series", "documents", "reconstruction", "images"],
)  # fmt: skip
def test_tasks_of_all_kinds_are_served(
    sizes: dict[str, int], layers: list[Any], inputs: tuple[Tensor, ...], outputs: tuple[int, ...]
) -> None:
    assert Sequential(sizes, layers=layers)(*inputs).shape == outputs


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match=r"layer 2 \(dense\): it gives \(9\), and the task takes \(classes\) = \(10\)"):
        Sequential(IMAGES, layers=["flatten", {"dense": 9}])
    with pytest.raises(ValueError, match=r"layer 1 \(dense\).units: 'clases' is not a size that the task provides"):
        Sequential(IMAGES, layers=[{"dense": "clases"}])
    with pytest.raises(ValueError, match="layer 1: 'dens' is not a layer"):
        lay_out(IMAGES, [{"dens": 3}])
    with pytest.raises(ValueError, match=r"layer 1 \(dense\): .*unexpected keyword argument 'unit'"):
        lay_out(IMAGES, [{"dense": {"unit": 3}}])


def test_channels_last_leaves_the_outputs_alike() -> None:
    torch.manual_seed(0)
    model = Sequential(IMAGES, layers=CNN)
    images = torch.randn(4, 1, 28, 28)
    expected = model(images)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(images), expected)
