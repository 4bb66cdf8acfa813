"""What stands out in a folder of pictures: lost bits, a single colour, one file in two classes; sizes and kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy
from numpy.typing import NDArray

from dltrain.data.images.class_folders import Listing
from dltrain.data.images.decoded import DecodedPictures
from dltrain.data.images.pictures import FULL, OriginalPicture, PictureFormat
from dltrain.data.wording import join_some

UPPER_BITS = 1 << 14
"""16-bit pictures without any value as large as this leave two upper bits empty."""
UNLIKE = 4
"""How many times wider or higher than the image, for its proportions, a picture is very different in shape."""
MANY_UNLIKE = 0.1
"""The share of such pictures beyond which it is reported."""
FAR_BORDER = 0.6
"""A difference of brightness, of 0..1, that photographs of one kind seldom have."""
FEW_PICTURES, TELLING = 20, 0.95
"""Sizes give classes away if, of so many pictures or more, the commonest class of each size is right for this share."""
_NAMED = 3
_FIELDS = {name: column for column, name in enumerate(OriginalPicture._fields)}


def describe_findings(
    listing: Listing, hashes: Sequence[str], decoded: DecodedPictures, form: PictureFormat
) -> Iterator[str]:
    """Describe what makes the pictures of a folder useless, or labels doubtful, a sentence each."""
    usable = numpy.ones(len(hashes), bool)
    usable[list(decoded.faults)] = False
    originals = decoded.originals[usable]
    bits, colour, largest = (originals[:, _FIELDS[name]] for name in ("bits", "colour", "largest"))
    yield from describe_depth(largest[(bits == 16) & (colour == 0)].tolist(), len(originals), form.white)
    if (deep := largest[(bits == 16) & (colour == 1)]).size and deep.max() < UPPER_BITS:
        yield (
            f"{len(deep)} of {len(originals)} pictures have 16 bits for each colour and no value above {deep.max()}; "
            "only the upper 8 are read: convert them to 8 bits"
        )
    single = decoded.find_single_colours()[usable]
    colours = {tuple(sums) for sums in decoded.sums[usable][single][:, : form.channels].tolist()}
    if len(single) > 1 and single.all() and len(colours) == 1:
        levels = ", ".join(str(total // (form.height * form.width)) for total in colours.pop())
        yield f"all {len(single)} pictures have one and the same colour ({levels} of 255): there is nothing to learn"
    folded = Counter("".join(name.casefold().split()) for name in listing.classes)
    if same := [name for name in listing.classes if folded["".join(name.casefold().split())] > 1]:
        yield f"the folders {', '.join(same)} are different classes, perhaps meant to be one"
    if cut := numpy.flatnonzero(usable)[originals[:, _FIELDS["incomplete"]] == 1].tolist():
        files = join_some([listing.names[index] for index in cut], _NAMED)
        yield f"the end of {len(cut)} of {len(originals)} pictures is missing, and grey in its place ({files})"
    yield from describe_shapes(originals, form)
    yield from describe_telling_sizes(originals, listing.labels[usable])
    if twice := list_contradictions(listing, hashes):
        yield f"{len(twice)} pictures are in two classes ({join_some(twice, _NAMED, '; ')}): remove one of each"


def describe_depth(largest: Sequence[int], pictures: int, white: int) -> Iterator[str]:
    """Describe what 16-bit grey pictures lose, of which these are the largest values, among all `pictures`."""
    if not largest:
        return
    most, some = max(largest), f"{len(largest)} of {pictures} pictures"
    if white == FULL and most < UPPER_BITS:
        yield (
            f"{some} have 16 bits, but no value above {most}, and of 16 bits the upper 8 are kept: {most // 256 + 1} "
            "of 256 levels are used; set data.white to the value that is white, or to largest"
        )
    elif most > white:
        above = sum(value > white for value in largest)
        yield f"{above} of {pictures} pictures have values above data.white {white}, up to {most}: they become white"


def count_several(decoded: DecodedPictures) -> int:
    """Count the pictures that are the first of several pages or frames in their file."""
    return int(decoded.originals[:, _FIELDS["several"]].sum())


def describe_shapes(originals: NDArray[numpy.int64], form: PictureFormat) -> Iterator[str]:
    """Describe what fitting, cropping or stretching does to pictures (N, 8) of a very different shape, if to many."""
    sides, turned = originals[:, :2], originals[:, _FIELDS["turned"]] == 1
    ratios = sides[:, 0] / sides[:, 1] * form.height / form.width
    unlike = numpy.maximum(ratios, 1 / ratios)
    unlike[turned] = 1  # perhaps with its sides exchanged
    if (unlike > UNLIKE).sum() <= MANY_UNLIKE * len(originals):
        return
    width, height = sides[numpy.argmax(unlike)].tolist()
    effect = {
        "fit": "fill less than a quarter of the image; the rest is border",
        "crop": "lose more than three quarters",
        "stretch": "are stretched to more than four times their proportions",
    }
    yield (
        f"{int((unlike > UNLIKE).sum())} of {len(originals)} pictures {effect[form.resize]} "
        f"(data.resize: {form.resize}; {width} x {height} to {form.width} x {form.height}): "
        "set data.height and data.width nearer to their shape"
    )


def describe_telling_sizes(originals: NDArray[numpy.int64], labels: NDArray[numpy.int64]) -> Iterator[str]:
    """Describe classes (N,) that the sizes of the pictures (N, 8) give away: resizing leaves traces of them."""
    sizes, kinds = numpy.unique(originals[:, :2], axis=0, return_inverse=True)
    if len(labels) < FEW_PICTURES or len(sizes) > len(labels) / 10:
        return
    counts = numpy.zeros((len(sizes), int(labels.max()) + 1), numpy.int64)
    numpy.add.at(counts, (kinds.ravel(), labels), 1)
    told, guessed = counts.max(1).sum() / len(labels), counts.sum(0).max() / len(labels)
    if told >= TELLING and guessed < 1 - 2 * (1 - TELLING):
        yield (
            f"the sizes of the pictures alone give away {told:.0%} of the classes, and resizing leaves traces of them, "
            "which a model may learn in place of what is shown"
        )


def describe_borders(borders: Sequence[float], background: float) -> Iterator[str]:
    """Describe pictures whose `borders` are those of inverted ones, 0 for black and 1 for white, if most are.

    `background` is the border of the pictures trained on.
    """
    opposite = 1 - background
    far = [one for one in borders if abs(one - background) > FAR_BORDER > 3 * abs(one - opposite)]
    if 2 * len(far) > len(borders):
        found = "brighter" if sum(far) > background * len(far) else "darker"
        yield (
            f"{len(far)} of {len(borders)} images have a much {found} border ({sum(far) / len(far):.2f} of 0..1) than "
            f"those trained on ({background:.2f}); if they are inverted, add --invert yes"
        )


def list_contradictions(listing: Listing, hashes: Sequence[str]) -> list[str]:
    """List the files whose content is in another class too, each with the first one."""
    first: dict[str, int] = {}
    found = []
    for index, digest in enumerate(hashes):
        other = first.setdefault(digest, index)
        if digest != "-" and listing.labels[other] != listing.labels[index]:
            found.append(f"{listing.names[index]} is {listing.names[other]}")
    return found


def count_originals(decoded: DecodedPictures) -> dict[str, str]:
    """Count the usable pictures by size, and those of 16 bits, turned by EXIF, incomplete, and of a single colour."""
    usable = numpy.ones(len(decoded.originals), bool)
    usable[list(decoded.faults)] = False
    originals = decoded.originals[usable]
    sizes = Counter(f"{width} x {height}" for width, height in originals[:, :2].tolist())
    shown = [f"{size}: {count}" for size, count in sizes.most_common()]
    facts = {"sizes": join_some(shown, _NAMED)}
    for name, marked in (
        ("16 bits", originals[:, _FIELDS["bits"]] == 16),
        ("turned by EXIF", originals[:, _FIELDS["turned"]] == 1),
        ("whose end is missing", originals[:, _FIELDS["incomplete"]] == 1),
        ("of a single colour", decoded.find_single_colours()[usable]),
    ):
        if marked.any():
            facts[name] = str(int(marked.sum()))
    return facts
