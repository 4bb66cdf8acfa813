"""Penn Treebank for language models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dltrain.data.cache import Cache, CacheEntry, cache_directory
from dltrain.data.text import topics
from dltrain.data.text.dataset import TextDataset, TextForm, TextLayout
from dltrain.data.text.sets import TEXT_SETS, Split, fetch, locate_text_set
from dltrain.data.text_files import LineSpan
from dltrain.files import write_synced
from dltrain.options import BatchSize, FolderPath, PositiveFloat, PositiveInt
from dltrain.registry import datasets


@datasets.register("ptb", data="text")
class PennTreebank(TextDataset):
    """Penn Treebank's Wall Street Journal text as preprocessed by Mikolov et al. 2010: 929,589 words to train on.

    Reads ptb.train.txt, ptb.valid.txt and ptb.test.txt, plain or .gz, from ROOT/ptb or ROOT. The vocabulary is the
    training file's 10,000 words, including `<unk>` and the `<eos>` at each line's end, the most frequent first; other
    words of the other files are `<unk>`. Every token of validation and test is scored once: column after column of the
    text, each warmed up on the 256 tokens before it, so the perplexity does not depend on evaluation_batch_size.

    Options:
        root: folder with the files.
        form: stream (one text in batch_size columns, whose windows continue each other) or sentences (a line each).
        batch_size: columns of the training text, or sentences, in a batch.
        sequence_length: tokens of each window; the reach of back-propagation in form stream.
        random_lengths: windows of random lengths, as in Merity et al. 2018 (arXiv:1708.02182); form stream only.
        max_words: longer sentences are cut into pieces of this many words; form sentences only.
        evaluation_batch_size: columns, or sentences, in a batch of validation and test.
        download: fetch missing files.
        when_missing: if the files are missing, stop with an error, or use the Python topics sample with a notice.
        sample: use the Python topics sample even if the files exist.
        cache: folder for encoded text; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: limit of the cache's size; beyond it the least recently used entries are removed.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: FolderPath = "data",
        form: TextForm = "stream",
        batch_size: BatchSize = 20,
        sequence_length: PositiveInt = 35,
        random_lengths: bool = False,
        max_words: PositiveInt = 100,
        evaluation_batch_size: PositiveInt = 10,
        download: bool = True,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
        cache: FolderPath | None = None,
        cache_gigabytes: PositiveFloat = 10.0,
    ) -> None:
        layout = TextLayout(
            form, batch_size, evaluation_batch_size, sequence_length, random_lengths=random_lengths, max_words=max_words
        )
        super().__init__(variant, seed, assets, layout, cache=Cache(cache_directory(cache), cache_gigabytes * 1e9))
        self._files = locate_text_set(variant, Path(root).expanduser())
        self._fetch = partial(fetch, variant, Path(root).expanduser()) if download else None
        self._sample_notice = topics.SAMPLE.substitute(
            assets, sample, when_missing, check_files=lambda: self._obtain("train", "valid")
        )
        self._sample = self._make_sample() if self._sample_notice else None
        self.name = topics.SAMPLE.name if self._sample_notice else variant
        if assets is None:
            self._learn("word", number="N", lowercase=True)  # the files are in lower case, except the N for numbers

    def _obtain(self, *splits: Split) -> None:
        self._files.obtain([TEXT_SETS["ptb"].files[split].name for split in splits], self._fetch)

    def _make_sample(self) -> CacheEntry:
        def make(folder: Path) -> None:
            for split, text in topics.make_sample_texts().items():
                write_synced(folder / f"{split}.txt", text.encode())

        return self._cache.entry("topics", {"format": 1, "name": topics.SAMPLE.name}, make)

    def _spans(self, split: Split) -> list[LineSpan]:
        if self._sample is not None:
            file = self._scan(f"topics-{split}", self._sample.path / f"{split}.txt")
        else:
            self._obtain(split)
            path = self._files.find(TEXT_SETS["ptb"].files[split].name)
            assert path is not None
            file = self._scan(f"ptb.{split}.txt", path)
        return [LineSpan(file, 0, file.lines)]

    def _list_closed_files(self, split: Split) -> tuple[str, ...]:
        return () if split in self._encoded else (TEXT_SETS["ptb"].files[split].name,)
