"""Options of images; importing them needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from dltrain.options import Augmentations, Fraction, NonNegativeFloat, PositiveFloat, UnitInterval

ExplanationMethod = Literal["saliency", "integrated_gradients", "grad_cam"]


LARGEST_MAGNITUDE = 30
"""RandAugment's magnitude at which every operation is at the end of its range."""

_Range = Annotated[list[PositiveFloat], MinLen(2), MaxLen(2)]
_Shares = Annotated[list[Annotated[float, Gt(0), Le(1)]], MinLen(2), MaxLen(2)]


@dataclass(frozen=True)
class RandAugment:
    """RandAugment (Cubuk et al. 2020, arXiv:1909.13719): each image is changed by some operations drawn from 14.

    They are: none, shear and shift (each in two directions), rotate, brightness, saturation, contrast, sharpness,
    posterize, solarize, stretch of the contrast, and equalize.

    Options:
        operations: how many for each image, one after the other.
        magnitude: how strong, 30 being the most; null draws it for each, as TrivialAugment (Müller and Hutter 2021,
            arXiv:2103.10158), which has one operation.
    """

    operations: Annotated[int, Ge(1), Le(8)] = 2
    magnitude: Annotated[float, Ge(0), Le(LARGEST_MAGNITUDE)] | None = 9.0


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
        crop: enlarge a random part whose share of the image's area is drawn from [low, high], such as [0.25, 1], before
            all other changes (Szegedy et al. 2015, arXiv:1409.4842).
        crop_aspect: range of that part's width over its height, relative to the image's.
        brightness: multiply pixels by a factor drawn from [max(0, 1 - x), 1 + x].
        contrast: the same for the differences from the image's mean grey.
        saturation: the same for the differences from the grey image; of colour images.
        hue: turn the hue by a share of the colour circle drawn from [-x, x]; of colour images.
        rand_augment: operations drawn from a list for each image, after the changes of colour.
        mixup: mix each image and its target with another one of its batch, by a share drawn from Beta(x, x) (Zhang et
            al. 2018, arXiv:1710.09412; 0.2 to 0.4 are their choices); last of all changes.
        cutmix: put a random rectangle of another image of the batch over each one, and mix the targets by its area,
            drawn from Beta(x, x) (Yun et al. 2019, arXiv:1905.04899; 1 is their choice). With mixup too, each image is
            mixed in one of the two ways.
        mix_probability: probability of mixing an image, by mixup or cutmix.
    """

    rotation_degrees: Annotated[float, Ge(0), Le(180)] = 0.0
    scale: _Range | None = None
    shift: Fraction = 0.0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    erase: UnitInterval = 0.0
    functions: Augmentations | None = None
    crop: _Shares | None = None
    crop_aspect: _Range = field(default_factory=lambda: [3 / 4, 4 / 3])
    brightness: NonNegativeFloat = 0.0
    contrast: NonNegativeFloat = 0.0
    saturation: NonNegativeFloat = 0.0
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    rand_augment: RandAugment | None = None
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    mix_probability: UnitInterval = 1.0

    @property
    def changes_colours(self) -> bool:
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    @property
    def mixes(self) -> bool:
        return bool(self.mixup or self.cutmix)
