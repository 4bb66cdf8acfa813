"""The classification networks of torchvision, for images of any number of classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dltrain.registry import models
from dltrain.runtime.cuda_wheels import import_torchvision

Architecture = Literal[
    "alexnet",
    "convnext_base", "convnext_large", "convnext_small", "convnext_tiny",
    "densenet121", "densenet161", "densenet169", "densenet201",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5",
    "efficientnet_b6", "efficientnet_b7", "efficientnet_v2_l", "efficientnet_v2_m", "efficientnet_v2_s",
    "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small",
    "regnet_x_16gf", "regnet_x_1_6gf", "regnet_x_32gf", "regnet_x_3_2gf", "regnet_x_400mf", "regnet_x_800mf",
    "regnet_x_8gf", "regnet_y_128gf", "regnet_y_16gf", "regnet_y_1_6gf", "regnet_y_32gf", "regnet_y_3_2gf",
    "regnet_y_400mf", "regnet_y_800mf", "regnet_y_8gf",
    "resnet101", "resnet152", "resnet18", "resnet34", "resnet50",
    "resnext101_32x8d", "resnext101_64x4d", "resnext50_32x4d",
    "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0",
    "squeezenet1_0", "squeezenet1_1",
    "swin_b", "swin_s", "swin_t", "swin_v2_b", "swin_v2_s", "swin_v2_t",
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
    "vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32",
    "wide_resnet101_2", "wide_resnet50_2",
]  # fmt: skip


@models.register("torchvision")
def build_torchvision_model(
    image_channels: int,
    height: int,
    width: int,
    classes: int,
    *,
    architecture: Architecture = "resnet18",
    small_images: bool = False,
) -> nn.Module:
    """A network of torchvision by its name: resnet18, mobilenet_v3_small, efficientnet_b0, vit_b_16, ...

    Images (N, image_channels, height, width) of 1 or 3 channels to logits (N, classes). Tensors have torchvision's
    names and, but for the last layer, its shapes, so that published weights can be taken over (`weights: {init_from:
    resnet18-f37072fd.pth}`; they need `data.normalize: imagenet`, those of googlenet and inception_v3 `symmetric`).
    Grey images are seen as three equal channels. Auxiliary classifiers are left out. It needs `pip install
    'dltrain[vision]'`. Raises ValueError for images of a size that the network cannot take.

    Options:
        architecture: torchvision's name of the network.
        small_images: begin with a 3 x 3 convolution at full resolution and no pooling, as He et al. 2015
            (arXiv:1512.03385) do for images of 32 x 32; for the resnet, resnext and wide_resnet networks.
    """
    network = _build_network(architecture, height, width, classes)
    if small_images:
        _keep_resolution(network, architecture)
    if image_channels == 1:
        _take_grey(network)
    elif image_channels != 3:
        raise ValueError(f"images have {image_channels} channels; allowed are 1 (grey) and 3 (red, green, blue)")
    with _explain_unsuited(architecture, height, width), torch.no_grad():
        network.eval()(torch.zeros(1, image_channels, height, width))
    return network.train()


def _build_network(architecture: str, height: int, width: int, classes: int) -> nn.Module:
    settings: dict[str, Any] = {}
    if architecture in ("googlenet", "inception_v3"):
        settings = {"aux_logits": False, "init_weights": True}
    elif architecture.startswith("vit"):
        settings = {"image_size": height}
    elif architecture.startswith("maxvit"):
        settings = {"input_size": (height, width)}
    get_model = import_torchvision().models.get_model
    with _explain_unsuited(architecture, height, width):
        network: nn.Module = get_model(architecture, num_classes=classes, **settings)
    return network


def _keep_resolution(network: nn.Module, architecture: str) -> None:
    if not isinstance(network, import_torchvision().models.ResNet):
        raise ValueError(f"small_images: not for {architecture}; allowed are the resnet, resnext, wide_resnet networks")
    stem = nn.Conv2d(3, network.conv1.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's own
    network.conv1, network.maxpool = stem, nn.Identity()


class GreyConvolution(nn.Conv2d):
    """A convolution of red, green and blue that is given one channel, and takes it for all three."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, H, W) to maps (N, out_channels, H', W')."""
        weight = self.weight.sum(1, keepdim=True)
        return functional.conv2d(
            images, weight, self.bias, stride=self.stride, padding=self.padding, dilation=self.dilation
        )


def _take_grey(network: nn.Module) -> None:
    name, first = next((name, one) for name, one in network.named_modules() if isinstance(one, nn.Conv2d))
    grey = GreyConvolution(
        first.in_channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        dilation=first.dilation,  # type: ignore[arg-type]
        bias=False,
    )
    grey.weight, grey.bias = first.weight, first.bias
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, grey)


@contextmanager
def _explain_unsuited(architecture: str, height: int, width: int) -> Iterator[None]:
    """Raise ValueError where the network cannot take images of this size."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        message = f"architecture: {architecture} cannot take images of {height} x {width} pixels: {reason}"
        raise ValueError(message) from error
