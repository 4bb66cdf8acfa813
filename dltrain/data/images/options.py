"""Options of images; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le, MaxLen, MinLen

from dltrain.options import Augmentations, Fraction, PositiveFloat, UnitInterval

ExplanationMethod = Literal["saliency", "integrated_gradients", "grad_cam"]


@dataclass(frozen=True)
class Augmentation:
    """Random changes to each training image, drawn from (seed, epoch, example).

    Options:
        rotation_degrees: rotate by an angle drawn from [-x, x].
        scale: enlarge by a factor drawn from [low, high].
        shift: move by a share of the width and of the height, each drawn from [-x, x].
        flip: mirror with probability one half.
        erase: probability of blanking a random rectangle (Zhong et al. 2017, arXiv:1708.04896).
        functions: registered augmentations, such as a plug-in's, one after the other and after all of the above; each
            is a name, or a mapping with a name and options.
    """

    rotation_degrees: Annotated[float, Ge(0), Le(180)] = 0.0
    scale: Annotated[list[PositiveFloat], MinLen(2), MaxLen(2)] | None = None
    shift: Fraction = 0.0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    erase: UnitInterval = 0.0
    functions: Augmentations | None = None
