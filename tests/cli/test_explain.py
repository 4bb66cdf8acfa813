"""What a decision rests on: gradients against closed forms and Captum, the command, filters, and the worst examples."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from dltrain.batch import Examples
from dltrain.core.evaluate import find_worst_examples
from dltrain.data.images.explanation import compute_grad_cam, compute_saliency, find_first_filters, integrate_gradients
from dltrain.data.images.pictures import PictureFormat, convert_picture, spread_over_picture
from dltrain.data.images.pixels import normalize_pixels
from dltrain.errors import DataError, UsageError
from dltrain.models.cnn import CNN
from dltrain.models.mlp import MLP
from dltrain.observers import pictures
from dltrain.observers.pictures import draw_attribution_picture, draw_captioned_picture, draw_filter_grid, tile_images
from dltrain.options import Plan
from dltrain.runs.examples import shorten_name
from dltrain.runs.finding import find_checkpoint
from dltrain.runs.loading import Trained, load_trained
from dltrain.runtime import precision
from support.commands import call, good, train_bars
from support.images import patterns

Write = Callable[[Mapping[str, Any]], Path]


@pytest.fixture(scope="module")
def run(images_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a model that tells most of the patterns apart."""
    return train_bars(tmp_path_factory.mktemp("finished"), images_root, model="{name: mlp, hidden: [12]}", epochs=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of the classes 0 to 4 by the names of their classes."""
    (tmp_path / "bars").mkdir()
    for index, image in enumerate(patterns(5, seed=5)[0]):
        Image.fromarray(image).save(tmp_path / "bars" / f"{index}.png")
    return tmp_path / "bars"


def cnn() -> CNN:
    torch.manual_seed(0)
    return CNN(3, 12, 11, 5, channels=[4, 6], hidden=8, dropout=0.5, batch_norm=True, padding=1).eval()


def two_images(shape: tuple[int, ...] = (3, 12, 11)) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(shape), torch.randn(shape)


def test_a_linear_model_is_explained_by_its_weights() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 4))
    image, baseline = two_images((2, 3, 3))
    weights = model[1].weight[2].view(2, 3, 3)
    torch.testing.assert_close(compute_saliency(model, image, 2), weights)
    for steps in (1, 40):  # 40 points go through the model in two parts
        found = integrate_gradients(model, image, baseline, 2, steps)
        torch.testing.assert_close(found, (weights * (image - baseline)).detach())


def test_of_a_square_the_middle_of_the_path_is_exact() -> None:
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.square().flatten(1)

    image, baseline = two_images((1, 2, 2))
    expected = torch.zeros(1, 2, 2)
    expected[0, 1, 0] = image[0, 1, 0] ** 2 - baseline[0, 1, 0] ** 2
    torch.testing.assert_close(integrate_gradients(Squares(), image, baseline, 2, 1), expected)
    expected[0, 1, 0] = 2 * image[0, 1, 0]
    torch.testing.assert_close(compute_saliency(Squares(), image, 2), expected)


def test_attributions_sum_to_the_difference_of_the_logits() -> None:
    model = cnn()
    image, baseline = two_images()
    with torch.no_grad():
        ends = model(torch.stack((image, baseline)))
    for label in range(5):
        found = integrate_gradients(model, image, baseline, label, 500)
        torch.testing.assert_close(found.sum(), ends[0, label] - ends[1, label], rtol=0.01, atol=1e-3)


def test_gradients_agree_with_captum() -> None:
    attr = pytest.importorskip("captum.attr")
    model = cnn()
    image, baseline = two_images()
    expected = attr.IntegratedGradients(model).attribute(
        image[None], baseline[None], target=3, n_steps=50, method="riemann_middle"
    )
    torch.testing.assert_close(
        integrate_gradients(model, image, baseline, 3, 50), expected[0].float(), rtol=1e-4, atol=1e-6
    )
    expected = attr.Saliency(model).attribute(image[None].clone().requires_grad_(), target=3, abs=False)
    torch.testing.assert_close(compute_saliency(model, image, 3), expected[0].detach())


def test_grad_cam_agrees_with_its_definition() -> None:
    model = cnn()
    image, _ = two_images()
    maps = model.features(image[None]).detach().requires_grad_()
    shown = []
    for label, logit in enumerate(model.classifier(maps)[0]):
        (gradients,) = torch.autograd.grad(logit, maps, retain_graph=True)
        small = (gradients[0].mean((1, 2)).view(-1, 1, 1) * maps[0]).sum(0).relu().detach()
        expected = nn.functional.interpolate(small[None, None], (12, 11), mode="bilinear")[0]
        torch.testing.assert_close(compute_grad_cam(model, image, label), expected)
        shown.append(float(expected.max()))
    assert max(shown) > 0


def test_grad_cam_needs_maps() -> None:
    with pytest.raises(UsageError, match="no layer gives maps with rows and columns"):
        compute_grad_cam(MLP(1, 4, 4, 3, hidden=[5]).eval(), torch.zeros(1, 4, 4), 0)


def test_smoothing_leaves_constant_gradients_and_averages_others() -> None:
    image, _ = two_images((1, 4, 4))
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    torch.testing.assert_close(compute_saliency(linear, image, 1, copies=40), compute_saliency(linear, image, 1))

    class Cube(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images**3).flatten(1).sum(1, keepdim=True)

    # The gradient is 3 x^2, whose mean under noise of deviation d is 3 (x^2 + d^2).
    deviation = 0.15 * (image.max() - image.min())
    expected = 3 * (image**2 + deviation**2)
    torch.testing.assert_close(compute_saliency(Cube(), image, 0, copies=20_000), expected, rtol=0.02, atol=0.05)


@pytest.mark.parametrize("resize", ["fit", "crop", "stretch"])
def test_attributions_are_spread_to_where_they_were_in_the_picture(resize: Any) -> None:
    """A white square in a black picture, resized and spread again, is where it was."""
    pixels = np.zeros((90, 60), np.uint8)
    pixels[36:54, 24:42] = 255
    form = PictureFormat(1, 30, 30, resize)
    small = convert_picture(Image.fromarray(pixels), form)[0].astype(np.float32)
    spread = spread_over_picture(small, (60, 90), form)
    assert spread.shape == (90, 60)
    assert np.abs(spread - pixels).mean() < 4
    assert (spread[40:50, 28:38] > 240).all()


def test_gradients_come_through_the_blocked_layout() -> None:
    torch.manual_seed(0)
    model = CNN(3, 12, 11, 5, channels=[4, 6]).eval()
    image, _ = two_images()
    plain = nn.Sequential(*model.features, model.classifier)
    torch.testing.assert_close(compute_saliency(model, image, 1), compute_saliency(plain, image, 1))


def test_the_model_stays_as_it_is() -> None:
    model = cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image, baseline = two_images()
    given = image.clone()
    compute_saliency(model, image, 0)
    integrate_gradients(model, image, baseline, 0, 3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(image, given)
    assert not image.requires_grad


def test_the_first_filters() -> None:
    layer, weights = find_first_filters(cnn(), (3, 12, 11))
    assert layer == "features.0"
    assert torch.equal(weights, cnn().features[0].weight)
    torch.manual_seed(0)
    dense = MLP(2, 4, 5, 3, hidden=[6])
    layer, weights = find_first_filters(dense, (2, 4, 5))
    assert layer == "layers.1"
    assert torch.equal(weights.flatten(1), dense.layers[1].weight)
    with pytest.raises(
        UsageError, match="Sequential: it has neither a convolution nor a dense layer over whole images"
    ):
        find_first_filters(nn.Sequential(nn.Linear(7, 2), nn.ReLU()), (2, 4, 5))


def test_tiles_lie_row_by_row_with_a_line_between() -> None:
    tiles = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 1, 2)
    line = [9.0] * 5
    expected = torch.tensor([[0.0, 0.0, 9.0, 1.0, 1.0], line, [2.0, 2.0, 9.0, 9.0, 9.0]])
    assert torch.equal(tile_images(tiles, 2, 9.0), torch.stack((expected, expected)))


def colours(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.unique(np.asarray(file.convert("RGB")).reshape(-1, 3), axis=0)


@pytest.mark.slow
def test_pictures_of_every_kind_of_image(tmp_path: Path) -> None:
    for channels in (2, 3):
        draw_filter_grid(torch.randn(5, channels, 3, 3), "$ is no formula", tmp_path / "new" / f"{channels}.png")
    draw_captioned_picture(torch.rand(6, 2, 4, 4), ["$ and $"] * 6, "six", tmp_path / "six.png")
    red = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1).expand(3, 4, 4)
    draw_attribution_picture(red, torch.zeros(4, 4), "red", "nothing", tmp_path / "red.png", signed=True)
    assert [255, 0, 0] in colours(tmp_path / "red.png").tolist()
    draw_filter_grid(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1), "both", tmp_path / "both.png")
    found = colours(tmp_path / "both.png").tolist()
    assert [103, 0, 31] in found  # the ends of the scale from blue to red
    assert [5, 48, 97] in found
    draw_attribution_picture(red, torch.zeros(4, 4), "red", "nothing", tmp_path / "again.png", signed=True)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "red.png").read_bytes()


def inputs(trained: Trained, path: Path) -> Tensor:
    with Image.open(path) as file:
        pixels = torch.from_numpy(np.array(file)).view(1, 1, 28, 28)
    return normalize_pixels(trained.record.assets, pixels)


def expected_saliency(trained: Trained, path: Path, label: int) -> Tensor:
    image = inputs(trained, path).requires_grad_()
    trained.model(image)[0, label].backward()
    assert image.grad is not None
    return image.grad[0]


@pytest.mark.slow
def test_explain_tells_and_draws_each_image(run: Path, folder: Path) -> None:
    trained = load_trained(find_checkpoint(run))
    told = good("explain", run, folder).stdout.splitlines()
    for index, line in enumerate(told):
        file, label, probability, picture = line.split("\t")
        assert (file, picture) == (f"{folder}/{index}.png", f"{run}/plots/explain-{index}.png")
        assert 0 < float(probability) <= 1
        with Image.open(picture) as drawn:
            assert drawn.size[0] > 300
        with torch.inference_mode():
            probabilities = trained.model(inputs(trained, Path(file))).softmax(1)[0]
        assert (label, probability) == (str(int(probabilities.argmax())), f"{float(probabilities.max()):.4f}")
    assert len(told) == 5


def test_json_holds_the_gradient_of_the_predicted_or_of_another_logit(run: Path, folder: Path) -> None:
    trained = load_trained(find_checkpoint(run))
    first = json.loads(good("explain", run, folder / "3.png", "--json").stdout)
    assert first["class"] == first["predicted"]
    assert (first["file"], first["method"]) == (f"{folder}/3.png", "saliency")
    expected = expected_saliency(trained, folder / "3.png", int(first["predicted"]))
    torch.testing.assert_close(torch.tensor(first["attributions"]), expected)
    other = json.loads(good("explain", run, "-", "--class", 7, "--json", stdin=f"{folder}/3.png\n").stdout)
    assert (other["class"], other["predicted"]) == ("7", first["predicted"])
    torch.testing.assert_close(torch.tensor(other["attributions"]), expected_saliency(trained, folder / "3.png", 7))
    assert other["probability"] < first["probability"]
    assert "baseline_logit" not in other


def test_integrated_gradients_start_at_the_background(run: Path, folder: Path) -> None:
    trained = load_trained(find_checkpoint(run))
    assets = trained.record.assets
    words = ("explain", run, folder / "2.png", "--method", "integrated_gradients", "--json")
    found = json.loads(good(*words).stdout)
    label = int(found["class"])
    empty = torch.full((1, 1, 28, 28), (assets["background"] - assets["mean"]) / assets["std"])
    with torch.inference_mode():
        assert found["baseline_logit"] == pytest.approx(float(trained.model(empty)[0, label]), abs=1e-5)
    total = np.sum(found["attributions"])
    assert found["attributions_sum"] == pytest.approx(total, rel=1e-4)
    assert total == pytest.approx(found["logit"] - found["baseline_logit"], rel=0.05)
    assert good(*words).stderr == ""
    with Image.open(found["picture"]) as drawn:
        assert drawn.size[0] > 300


def test_smooth_saliency_is_the_mean_over_copies(run: Path, folder: Path) -> None:
    found = json.loads(good("explain", run, folder / "2.png", "--smooth", 8, "--json").stdout)
    assert found["copies"] == 8
    trained = load_trained(find_checkpoint(run))
    expected = compute_saliency(trained.model, inputs(trained, folder / "2.png")[0], int(found["class"]), copies=8)
    torch.testing.assert_close(torch.tensor(found["attributions"]), expected)


def test_too_few_steps_are_told(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dltrain.cli.explain.CLOSE", 0.0)
    told = good("explain", run, folder / "0.png", "--method", "integrated_gradients", "--steps", 1).stderr
    assert f"note: {folder}/0.png: the attributions sum to " in told
    assert "; more --steps bring them together\n" in told


def test_what_cannot_be_read_is_named_and_the_rest_is_done(run: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "text.png").write_text("not a picture")
    result = call("explain", run, folder / "text.png", folder / "1.png", "-o", tmp_path / "out")
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "1 of 2 images could not be read; the others are done"
    assert f"error: {folder}/text.png: not an image that can be read" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["explain-1.png"]
    nothing = call("explain", run, "-", stdin="\n")
    assert isinstance(nothing.exception, DataError)
    assert str(nothing.exception) == "no images given, on the command line or on standard input"


@pytest.mark.slow
def test_each_picture_has_a_place_of_its_own(run: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    paper = Image.fromarray(255 - patterns(1, seed=5)[0][0])
    paper.save(tmp_path / "more" / "0.png")
    result = good("explain", run, folder / "0.png", tmp_path / "more", folder / "1.png", "-o", tmp_path / "out")
    places = [line.split("\t")[3] for line in result.stdout.splitlines()]
    assert places == [f"{tmp_path}/out/explain-{name}.png" for name in ("0", "0-2", "1")]
    assert result.stderr == "note: 1 of 3 images were inverted (--invert no leaves them)\n"
    good("explain", run, folder / "0.png", "-o", tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "out" / "explain-0.png").read_bytes()
    several = call("explain", run, folder, "-o", tmp_path / "one.png")
    assert isinstance(several.exception, UsageError)
    assert str(several.exception) == f"-o {tmp_path}/one.png: one file for 5 pictures\nnext: name a folder with -o"


def test_a_checkpoint_alone_needs_a_place(run: Path, folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / (run / "best").resolve().name
    shutil.copytree(run / "best", alone)
    refused = call("explain", alone, folder / "0.png")
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception) == (
        f"{alone}: a checkpoint that stands alone has no place for pictures\nnext: name one with -o"
    )
    good("explain", alone, folder / "0.png", "-o", tmp_path / "x.png")
    assert "worst_picture" not in json.loads(good("eval", alone, "--worst", 2, "--json").stdout)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is nothing to explain\nnext: name images, or draw the first layer with --filters"),
        (["x.png", "--filters"], "--filters needs no images, but some were named\nnext: leave out one of the two"),
        (["--filters", "--class", "1"], "--class goes with images, and --filters draws no label's\nnext: leave out"),
        (["x.png", "--steps", "3"], "--steps goes with --method integrated_gradients, which was not given\nnext: add"),
        (["x.png", "--method", "grad_cam", "--smooth", "5"], "--smooth goes with --method saliency, not with grad_cam"),
        (["x.png", "--class", "A"], "--class: there is no label 'A'; there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], message: str, run: Path) -> None:
    refused = call("explain", run, *words)
    assert isinstance(refused.exception, UsageError)
    assert str(refused.exception).startswith(message)


def test_filters_of_the_first_layer(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert good("explain", run, "--filters").stdout == f"layers.1\t12 x 1 x 28 x 28\t{run}/plots/filters.png\n"
    with Image.open(run / "plots" / "filters.png") as drawn:
        assert drawn.size[0] > 300
    found = json.loads(good("explain", run, "--filters", "--json").stdout)
    weights = load_trained(find_checkpoint(run)).model.state_dict()["layers.1.weight"]
    assert (found["layer"], found["shape"]) == ("layers.1", [12, 1, 28, 28])
    torch.testing.assert_close(torch.tensor(found["weights"]).flatten(1), weights)
    monkeypatch.setattr("dltrain.cli.explain.FILTERS", 5)
    drawn_weights: list[Any] = []
    monkeypatch.setattr(pictures, "draw_filter_grid", lambda *given: drawn_weights.append(given))
    assert "note: the picture shows the first 5 of 12 filters\n" in good("explain", run, "--filters").stderr
    assert len(drawn_weights[0][0]) == 5
    assert drawn_weights[0][1] == "mlp: layers.1, the first 5 of 12"


@pytest.mark.slow
def test_other_tasks_are_refused(write_settings: Write, settings: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    settings["task"] = "reconstruction"
    settings["model"] = {"name": "dense_autoencoder", "hidden": [], "code": 2}
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "images", "-q")
    refused = call("explain", tmp_path / "images", folder)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.message == f"{tmp_path}/images: the task 'reconstruction' does not label inputs"
    assert refused.exception.advice == "name the run of a task that does"
    told = good("explain", tmp_path / "images", "--filters").stdout
    assert told == f"encoder.2\t2 x 1 x 28 x 28\t{tmp_path}/images/plots/filters.png\n"
    (tmp_path / "text.txt").write_text("a b c a b\n" * 20)
    settings |= {
        "task": "language_modelling",
        "data": {"name": "text", "training": ["text.txt"], "root": str(tmp_path), "batch_size": 2},
        "model": {"name": "rnn", "hidden": 4},
    }
    good("fit", write_settings(settings), "-o", tmp_path / "text", "-q")
    refused = call("explain", tmp_path / "text", folder)
    assert isinstance(refused.exception, UsageError)
    assert refused.exception.message == f"{tmp_path}/text: the task 'language_modelling' does not read images"


def test_the_digits_sample_names_itself(
    write_settings: Write, settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    settings["data"] = {"name": "mnist", "batch_size": 200, "sample": True}
    settings["model"] = {"name": "mlp", "hidden": [4]}
    settings["trainer"]["epochs"] = 1
    good("fit", write_settings(settings), "-o", tmp_path / "run", "-q")
    assert "warning: NOT MNIST" in good("explain", tmp_path / "run", folder / "0.png").stderr


class Told:
    """A task whose probabilities are the inputs; the second of two labels is given from a threshold on."""

    labels = ("no", "yes")

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def probabilities(self, model: nn.Module, *inputs: Tensor) -> Tensor:
        return torch.stack((1 - inputs[0], inputs[0]), 1)

    def decisions(self, probabilities: Tensor) -> Tensor:
        return (probabilities[:, 1] >= self.threshold).long()


def test_the_worst_examples_of_all_batches_and_of_equals_the_first() -> None:
    chances = [torch.tensor([0.75, 0.5, 0.25]), torch.tensor([0.125, 0.75, 0.5])]
    truths = [torch.tensor([0, 1, 1]), torch.tensor([1, 0, 0])]
    batches = [Examples(inputs, targets) for inputs, targets in zip(chances, truths, strict=True)]
    runtime = precision.start_runtime(Plan(device="cpu", threads=1))
    found = find_worst_examples(nn.Identity(), Told(0.75), batches, runtime=runtime, number=5)
    assert [(one.example, one.truth, one.predicted) for one in found] == [
        (3, 1, 0), (0, 0, 1), (2, 1, 0), (4, 0, 1), (1, 1, 0)
    ]  # fmt: skip
    assert [one.truth_probability for one in found] == [0.125, 0.25, 0.25, 0.25, 0.5]
    assert [one.predicted_probability for one in found] == [0.875, 0.75, 0.75, 0.75, 0.5]
    assert [one.inputs.item() for one in found] == [0.125, 0.75, 0.25, 0.75, 0.5]
    assert len(find_worst_examples(nn.Identity(), Told(0.75), batches, runtime=runtime, number=99)) == 6


def test_captions_are_short() -> None:
    assert shorten_name("t10k-images-idx3-ubyte, image 7") == "image 7"
    assert shorten_name("data/photos/test/cat/0012.jpg") == "cat/0012.jpg"
    assert shorten_name("a/cat/IMG_20240131_235959_001.jpg") == "...240131_235959_001.jpg"
    assert all(len(shorten_name("x" * length)) <= 24 for length in range(60))


def verdict(one: dict[str, Any]) -> str:
    if one["predicted"] == one["truth"]:
        return "rightly recognised"
    return f"taken for {one['predicted']} ({one['predicted_probability']:.4f})"


@pytest.mark.parametrize("split", ["test", "validation"])
def test_eval_shows_the_most_confused_images(split: str, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    keep = pictures.draw_captioned_picture
    monkeypatch.setattr(pictures, "draw_captioned_picture", lambda *given: [drawn.append(given), keep(*given)])
    result = json.loads(good("eval", run, "--worst", 6, "--split", split, "--json").stdout)
    trained = load_trained(find_checkpoint(run))
    dataset = trained.dataset()
    (batch,) = (dataset.test() if split == "test" else dataset.validation()).epoch(0)
    with torch.inference_mode():
        probabilities = trained.model(batch.inputs).softmax(1)
    chances = probabilities[range(len(batch.targets)), batch.targets]
    order = sorted(range(len(chances)), key=lambda index: float(chances[index]))[:6]
    assert [one["example"] for one in result["worst_examples"]] == order
    assert [one["truth"] for one in result["worst_examples"]] == [str(int(batch.targets[index])) for index in order]
    for one, index in zip(result["worst_examples"], order, strict=True):
        assert one["truth_probability"] == pytest.approx(float(chances[index]), rel=1e-5)
        assert one["predicted"] == str(int(probabilities[index].argmax()))
        assert one["predicted_probability"] == pytest.approx(float(probabilities[index].max()), rel=1e-5)
    assets = trained.record.assets
    torch.testing.assert_close(drawn[0][0], batch.inputs[order] * assets["std"] + assets["mean"])
    first = result["worst_examples"][0]
    assert (
        drawn[0][1][0]
        == f"{first['name'].split(', ')[1]}\n{first['truth']} ({first['truth_probability']:.4f})\n{verdict(first)}"
    )
    assert result["worst_picture"] == f"{run}/plots/worst-{split}.png"
    with Image.open(result["worst_picture"]) as picture:
        assert picture.size[0] > 300


@pytest.mark.slow
def test_eval_tells_the_most_confused_in_lines(run: Path) -> None:
    told = good("eval", run, "--worst", 2).stdout
    worst = json.loads(good("eval", run, "--worst", 2, "--json").stdout)["worst_examples"]
    lines = [
        f"worst {place}: {one['name']}, {one['truth']} ({one['truth_probability']:.4f}) {verdict(one)}\n"
        for place, one in enumerate(worst, 1)
    ]
    assert told.endswith(
        f"\n\n{''.join(lines)}\npicture: {run}/plots/confusion-test.png\npicture: {run}/plots/worst-test.png\n"
    )
    assert "worst_examples" not in json.loads(good("eval", run, "--json").stdout)
