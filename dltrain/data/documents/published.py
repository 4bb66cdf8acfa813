"""Published sets of texts with a label each: AG News and IMDB."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from dltrain.data.documents.dataset import LabelledTexts
from dltrain.data.documents.rows import LabelledRow
from dltrain.data.documents.sets import COLLECTIONS, fetch, locate_collection, read_collection
from dltrain.data.sampling import Sampling
from dltrain.options import BatchSize, Fold, FolderPath, Fraction, PositiveInt
from dltrain.registry import datasets


@datasets.register("ag_news", data="documents")
@datasets.register("imdb", data="documents")
class PublishedTexts(LabelledTexts):
    """AG News (120,000 news in four subjects) and IMDB (25,000 film reviews, positive or negative), and their tests.

    Reads train.csv and test.csv from ROOT/ag_news_csv or ROOT: title and description are one text. Of IMDB, the .txt
    files in train/pos, train/neg, test/pos and test/neg of ROOT/aclImdb or ROOT; the unlabelled reviews are left out.
    Validation is a stratified share of the training texts.

    Options:
        root: folder with the files.
        validation: share of the training texts.
        fold: hold out this fold of a cross-validation as the test split, instead of the set's own.
        unit: token unit: word or character.
        lowercase: read everything in lower case.
        punctuation: make each punctuation mark a separate word; false splits words at white space only.
        min_count: tokens less frequent than this in training become `<unk>`; default 2 for words and 1 for characters.
        max_vocabulary: keep only this number of tokens, the most frequent, `<eos>` and `<unk>` included.
        max_tokens: longer texts are truncated to this number of tokens.
        batch_size: texts in a training batch.
        sampling: shuffled (each training example once in an epoch) or balanced (each class equally often).
        evaluation_batch_size: texts in a batch of validation and test.
        download: fetch missing files.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: FolderPath = "data",
        validation: Fraction = 0.1,
        fold: Fold | None = None,
        unit: Literal["word", "character"] = "word",
        lowercase: bool = True,
        punctuation: bool = True,
        min_count: PositiveInt | None = None,
        max_vocabulary: Annotated[int, Ge(3)] | None = None,
        max_tokens: PositiveInt = 400,
        batch_size: BatchSize = 32,
        sampling: Sampling = "shuffled",
        evaluation_batch_size: PositiveInt = 128,
        download: bool = True,
    ) -> None:
        known, home = COLLECTIONS[variant], Path(root).expanduser()
        files = locate_collection(variant, home)
        files.obtain(known.needed, partial(fetch, variant, home) if download else None)
        found = files.find(known.training)
        assert found is not None
        self._variant = variant
        super().__init__(
            variant,
            seed,
            assets,
            training=[known.training],
            test=[known.test],
            root=str(found.parent),
            validation=validation,
            fold=fold,
            unit=unit,
            lowercase=lowercase,
            punctuation=punctuation,
            min_count=min_count,
            max_vocabulary=max_vocabulary,
            max_tokens=max_tokens,
            batch_size=batch_size,
            sampling=sampling,
            evaluation_batch_size=evaluation_batch_size,
        )

    def _read_one(self, path: Path) -> tuple[list[LabelledRow], str, str | None]:
        return (*read_collection(self._variant, path), None)
