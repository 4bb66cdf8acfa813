"""The losses that a task's option `loss` may name, registered as those of a plug-in are."""

from __future__ import annotations

from math import log

from torch import Tensor
from torch.nn import functional

from dltrain.errors import DataError
from dltrain.options import NonNegativeFloat, PositiveFloat
from dltrain.registry import losses
from dltrain.tasks.class_weights import compute_focal_factors


@losses.register("cross_entropy", takes="classes", convex=True)
def compute_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log p of the true class, in nats; label_smoothing, focal_gamma and positive_weight change it in training."""
    return functional.cross_entropy(outputs, targets, reduction="none")


@losses.register("focal", takes="classes")
def compute_focal_loss(outputs: Tensor, targets: Tensor, *, gamma: NonNegativeFloat = 2.0) -> Tensor:
    """Cross-entropy times (1 - p)**gamma, which lets examples that are right count less (Lin et al. 2017).

    arXiv:1708.02002; p is the probability of the true class.

    Options:
        gamma: how much less; 0 is cross-entropy.
    """
    losses = functional.cross_entropy(outputs, targets, reduction="none")
    return losses * compute_focal_factors(outputs, targets, gamma)


@losses.register("hinge", takes="classes")
def compute_hinge_loss(outputs: Tensor, targets: Tensor, *, margin: PositiveFloat = 1.0) -> Tensor:
    """How far the logits of the other classes come within a margin of the true one's, the mean over the classes.

    Crammer and Singer 2001, summed over the classes as in torch's multi_margin_loss. Its logits are no probabilities.

    Options:
        margin: by how much the true class's logit should be the highest.
    """
    return functional.multi_margin_loss(outputs, targets, margin=margin, reduction="none")


@losses.register("mse", takes=("numbers", "images"), convex=True)
def compute_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The squared error."""
    return functional.mse_loss(outputs, targets, reduction="none")


@losses.register("mae", takes=("numbers", "images"))
def compute_absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The absolute error."""
    return functional.l1_loss(outputs, targets, reduction="none")


@losses.register("huber", takes=("numbers", "images"), convex=True)
def compute_huber_loss(outputs: Tensor, targets: Tensor, *, delta: PositiveFloat = 1.0) -> Tensor:
    """Half the squared error where it is small, and linear in it beyond (Huber 1964).

    Options:
        delta: the error up to which it is squared, in the units of the loss.
    """
    return functional.huber_loss(outputs, targets, reduction="none", delta=delta)


@losses.register("log_cosh", takes=("numbers", "images"), convex=True)
def compute_log_cosh(outputs: Tensor, targets: Tensor) -> Tensor:
    """log cosh of the error: smooth, half its square where it is small, its size less log 2 where it is large."""
    errors = (outputs - targets).abs()
    return errors + functional.softplus(-2 * errors) - log(2)


@losses.register("poisson", takes="numbers", link="log", convex=True)
def compute_poisson_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """-log p of counts by the Poisson distribution, whose mean's logarithm the model gives; without log(target!)."""
    if (targets < 0).any():
        raise DataError(
            f"task.loss: poisson is for counts, which are 0 or more; a target is {float(targets.min()):g}",
            advice="choose another loss, such as huber: dltrain list losses",
        )
    return functional.poisson_nll_loss(outputs, targets, reduction="none")


@losses.register("bce", takes="images", logits=True)
def compute_pixel_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of pixels in 0..1, whose logits the model gives."""
    return functional.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
