"""What in an image a model's decision rests on, and the first filters that it looks at images with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dltrain.capabilities import Predicts
from dltrain.data.images.options import ExplanationMethod
from dltrain.data.images.pixels import scale_pixels
from dltrain.errors import UsageError

TOGETHER = 32
"""Images of one explanation, such as points of a path, that go through the model at a time."""
NOISE = 0.15
"""The deviation of SmoothGrad's noise, as a share of the range of the image's values."""


class Filters(NamedTuple):
    """A layer's name in its model, and its weights as images (F, C, H, W)."""

    layer: str
    weights: Tensor


class Explanation(NamedTuple):
    """Class `label` of an image, its probability and its logit, the predicted class, and what the logit rests on.

    `attributions` (C, H, W), or (1, H, W) of Grad-CAM, are on the CPU. `baseline_logit` is the empty image's, for
    integrated gradients alone.
    """

    label: int
    probability: float
    predicted: int
    logit: float
    attributions: Tensor
    baseline_logit: float | None


@dataclass(frozen=True)
class Explainer:
    """A trained classifier of images whose logits are explained.

    The model is in evaluation mode. The path of integrated gradients, of so many `steps`, begins at an image of the
    background alone, the mean colour of the training images' borders. Saliency is the mean over `copies` of the image.
    """

    model: nn.Module
    task: Predicts
    assets: Mapping[str, Any]
    device: torch.device
    method: ExplanationMethod
    steps: int
    copies: int

    def explanation(self, pixels: Tensor, label: int | None) -> Explanation:
        """Explain the class `label`, or the predicted one, of an image (C, H, W) in 0..255.

        Raises UsageError for Grad-CAM of a model without maps.
        """
        image = scale_pixels(self.assets, pixels.to(self.device) / 255)
        with torch.no_grad():
            probabilities = self.task.probabilities(self.model, image.unsqueeze(0))[0]
        predicted = int(probabilities.argmax())
        label = predicted if label is None else label
        background = torch.as_tensor(self.assets["background"], dtype=image.dtype, device=self.device)
        baseline = scale_pixels(self.assets, background.reshape(-1, 1, 1).expand_as(image))
        with torch.no_grad():
            both = compute_logits(self.model, torch.stack((image, baseline)))[:, label].tolist()
        if self.method == "grad_cam":
            attributions = compute_grad_cam(self.model, image, label)
        elif self.method == "saliency":
            attributions = compute_saliency(self.model, image, label, self.copies)
        else:
            attributions = integrate_gradients(self.model, image, baseline, label=label, steps=self.steps)
        return Explanation(
            label=label,
            probability=float(probabilities[label]),
            predicted=predicted,
            logit=both[0],
            attributions=attributions.cpu(),
            baseline_logit=both[1] if self.method == "integrated_gradients" else None,
        )


def compute_logits(model: nn.Module, images: Tensor) -> Tensor:
    """What a classifier gives for images (N, C, H, W) before the softmax, (N, classes) float32."""
    outputs: Tensor = model(images).float()
    return outputs


def compute_saliency(model: nn.Module, image: Tensor, label: int, copies: int = 1) -> Tensor:
    """The gradient of the logit of class `label` with respect to an image (C, H, W).

    Simonyan, Vedaldi and Zisserman 2013, arXiv:1312.6034. With several `copies` it is the mean over so many images with
    normal noise, always the same (SmoothGrad: Smilkov et al. 2017, arXiv:1706.03825). The model, in evaluation mode,
    stays as it is.
    """
    if copies == 1:
        return _gradients(model, image.unsqueeze(0), label)[0]
    generator = torch.Generator().manual_seed(0)
    deviation = NOISE * (image.max() - image.min())
    total = torch.zeros_like(image)
    for start in range(0, copies, TOGETHER):
        noise = torch.randn((min(TOGETHER, copies - start), *image.shape), generator=generator).to(image)
        total += _gradients(model, image + deviation * noise, label).sum(0)
    return total / copies


def compute_grad_cam(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """Where in an image (C, H, W) the model's last feature maps speak for class `label`, (1, H, W), 0 or more.

    The maps, weighted by the mean gradients of the logit with respect to each, added up, cut off at 0 and resized
    (Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391). The last maps are the last output of any layer with several
    rows or columns. Raises UsageError for a model without any. The model, in evaluation mode, stays as it is.
    """
    last: list[Tensor] = []

    def keep_maps(_: nn.Module, __: Any, output: Any) -> None:
        are_maps = isinstance(output, Tensor) and output.ndim == 4 and output.shape[2:].numel() > 1
        if are_maps and output.layout == torch.strided and output.requires_grad:
            last[:] = [output]

    hooks = [layer.register_forward_hook(keep_maps) for layer in model.modules()]
    try:
        with torch.enable_grad():
            logit = compute_logits(model, image.unsqueeze(0).requires_grad_())[0, label]
    finally:
        for hook in hooks:
            hook.remove()
    if not last:
        raise UsageError(
            f"{type(model).__name__}: no layer gives maps with rows and columns, so there is no Grad-CAM",
            advice="use --method saliency or integrated_gradients",
        )
    (gradients,) = torch.autograd.grad(logit, last)
    weighted = (gradients.mean((2, 3), keepdim=True) * last[0].detach()).sum(1, keepdim=True).relu()
    return nn.functional.interpolate(weighted.float(), image.shape[1:], mode="bilinear", align_corners=False)[0]


def integrate_gradients(model: nn.Module, image: Tensor, baseline: Tensor, label: int, steps: int) -> Tensor:
    """What each value of an image (C, H, W) adds to the logit of class `label`, seen from a `baseline` (C, H, W).

    The difference to the baseline, times the mean gradient at the middles of `steps` equal parts of the straight line
    between the two (Sundararajan, Taly and Yan 2017, arXiv:1703.01365). The values sum to the difference of the logits
    at both ends, but for what the finite number of steps leaves. The model, in evaluation mode, stays as it is.
    """
    shares = (torch.arange(steps, device=image.device, dtype=image.dtype) + 0.5) / steps
    total = torch.zeros_like(image)
    for start in range(0, steps, TOGETHER):
        points = baseline + shares[start : start + TOGETHER].view(-1, 1, 1, 1) * (image - baseline)
        total += _gradients(model, points, label).sum(0)
    return (image - baseline) * total / steps


def _gradients(model: nn.Module, images: Tensor, label: int) -> Tensor:
    """For each image (N, C, H, W) the gradient of its own logit of class `label`, (N, C, H, W)."""
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        (gradients,) = torch.autograd.grad(compute_logits(model, images)[:, label].sum(), images)
    return gradients


def find_first_filters(model: nn.Module, image_shape: tuple[int, int, int]) -> Filters:
    """The weights of the first convolution, or of the first dense layer as images of its inputs.

    Raises UsageError where the first layer that has weights for images (C, H, W) of `image_shape` is neither.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            return Filters(name, layer.weight.detach().float().cpu())
        if isinstance(layer, nn.Linear) and layer.in_features == torch.Size(image_shape).numel():
            return Filters(name, layer.weight.detach().float().cpu().view(-1, *image_shape))
    raise UsageError(
        f"{type(model).__name__}: it has neither a convolution nor a dense layer over whole images, so there are no "
        "filters to draw",
        advice="explain images instead",
    )
