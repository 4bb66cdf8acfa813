"""Text for language models: Penn Treebank, and files of the user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction as Rational
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from dltrain.data.cache import Cache, Entry, cache_directory
from dltrain.data.text import topics
from dltrain.data.text.encoding import EncodedTokens, encode_files, learn_vocabulary, make_empty_tokens
from dltrain.data.text.passages import EvaluationWindows, Passages, SentenceBatches, TextWindows
from dltrain.data.text.sets import Split, fetch, locate, missing_message, ways_out
from dltrain.data.text.vocabulary import END, Vocabulary
from dltrain.data.text_files import LineSpan, TextFile, find_file, scan_file
from dltrain.dataset import no_test_split
from dltrain.errors import DataError, UsageError
from dltrain.files import write_synced
from dltrain.options import Fraction, PositiveFloat, PositiveInt
from dltrain.registry import datasets
from dltrain.stream import Loader, Source

Assets = Mapping[str, Any]
TextForm = Literal["stream", "sentences"]
Files = Annotated[list[str], MinLen(1)]

LONGEST_SENTENCE = 100_000
"""Tokens of a line beyond which a file is taken to be no list of sentences."""


@dataclass(frozen=True)
class TextLayout:
    """How a text is laid out in batches."""

    form: TextForm
    batch_size: int
    sequence_length: int
    random_lengths: bool
    max_words: int
    evaluation_batch_size: int

    def __post_init__(self) -> None:
        if self.form == "sentences" and self.random_lengths:
            raise UsageError(
                "data.random_lengths: true goes with data.form: stream; the lengths of sentences are their own.",
                advice="leave one of the two out",
            )


class TextDataset:
    """What text datasets share: their vocabulary, and the streams of their splits."""

    def __init__(
        self, seed: int, assets: Assets | None, layout: TextLayout, cache: str | None, gigabytes: float
    ) -> None:
        self._seed, self._layout = seed, layout
        self._cache = Cache(cache_directory(cache), gigabytes * 1e9)
        self._assets: Assets = assets or {}
        self._lowercase = False  # whether the files' own case is given up
        self._scanned: dict[str, TextFile] = {}
        self._in_use: list[EncodedTokens | Entry] = []

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def assets(self) -> Assets:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        return {name: file.sha256 for name, file in self._scanned.items()}

    @property
    def notice(self) -> str | None:
        return None

    def _spans(self, split: Split) -> list[LineSpan]:
        """The lines that a split is made of; none where there is no such split."""
        raise NotImplementedError

    def training(self) -> Loader[Passages]:
        tokens, layout = self._tokens("train"), self._layout
        source: Source[Passages]
        if layout.form == "sentences":
            source = self._sentences(tokens, layout.batch_size, shuffled=True)
        else:
            self._check_enough(len(tokens.ids) - 1, self._spans("train"))
            source = TextWindows(
                tokens.ids, layout.batch_size, layout.sequence_length, self._seed, layout.random_lengths
            )
        return Loader(source)

    def validation(self) -> Loader[Passages]:
        return self._evaluation("valid")

    def test(self) -> Loader[Passages]:
        return self._evaluation("test")

    def _evaluation(self, split: Split) -> Loader[Passages]:
        tokens, layout = self._tokens(split), self._layout
        if layout.form == "sentences":
            return Loader(self._sentences(tokens, layout.evaluation_batch_size, shuffled=False))
        end = Vocabulary(self._assets).end
        return Loader(EvaluationWindows(tokens.ids, end, layout.evaluation_batch_size, layout.sequence_length))

    def _sentences(self, tokens: EncodedTokens, batch_size: int, shuffled: bool) -> SentenceBatches:
        if tokens.longest.tokens > LONGEST_SENTENCE:
            file, line, count = tokens.longest
            raise DataError(
                f"{file}, line {line}: {count} tokens in one line; a sentence has at most {LONGEST_SENTENCE}. "
                "This is probably not one sentence a line.",
                advice="use data.form: stream, or give another file",
            )
        end = Vocabulary(self._assets).end
        return SentenceBatches(tokens.ids, end, batch_size, self._layout.max_words, self._seed, shuffled)

    def _tokens(self, split: Split) -> EncodedTokens:
        spans, vocabulary = self._spans(split), Vocabulary(self._assets)
        if not spans:
            return make_empty_tokens(vocabulary.end)
        tokens = encode_files(spans, vocabulary, self._lowercase, self._cache)
        self._in_use.append(tokens)
        return tokens

    def _check_enough(self, tokens: int, spans: Sequence[LineSpan]) -> None:
        columns, length = self._layout.batch_size, self._layout.sequence_length
        if tokens < columns * length:
            raise DataError(
                f"{', '.join(str(span.file.path) for span in spans)}: {tokens} tokens to train on, but one window of "
                f"{length} tokens in each of {columns} columns takes {columns * length}.",
                advice="lower data.batch_size or data.sequence_length, or give more text",
            )

    def _scan(self, name: str, path: Path) -> TextFile:
        """A file's facts, found out once; from then on it is part of the fingerprint, as `name`."""
        if name not in self._scanned:
            self._scanned[name] = scan_file(path)
        return self._scanned[name]


@datasets.register("ptb", data="text")
class PennTreebank(TextDataset):
    """Penn Treebank's Wall Street Journal text as preprocessed by Mikolov et al. 2010: 929,589 words to train on.

    Reads ptb.train.txt, ptb.valid.txt and ptb.test.txt, plain or .gz, from ROOT/ptb or ROOT. The vocabulary are the
    training file's 10,000 words, `<unk>` and the `<eos>` at each line's end among them, the most frequent first; other
    words of the other files are `<unk>`. Every token of validation and test is scored once: column after column of the
    text, each warmed up on the 256 tokens before it, so the perplexity does not depend on evaluation_batch_size.

    Options:
        root: folder with the files.
        form: stream (one text in batch_size columns, whose windows continue each other) or sentences (a line each).
        batch_size: columns of the training text, or sentences, in a batch.
        sequence_length: tokens of each window; how far back-propagation reaches in form stream.
        random_lengths: windows of random lengths, as in Merity et al. 2018 (arXiv:1708.02182); form stream only.
        max_words: longer sentences are cut into pieces of this many words; form sentences only.
        evaluation_batch_size: columns, or sentences, in a batch of validation and test.
        download: fetch files that are not there.
        when_missing: without the files, stop with an error, or use the Python topics sample and say so.
        sample: use the Python topics sample even where the files are.
        cache: folder for encoded text; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: what the cache may hold; beyond it what was used least recently is removed.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: str = "data",
        form: TextForm = "stream",
        batch_size: PositiveInt = 20,
        sequence_length: PositiveInt = 35,
        random_lengths: bool = False,
        max_words: PositiveInt = 100,
        evaluation_batch_size: PositiveInt = 10,
        download: bool = True,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
        cache: str | None = None,
        cache_gigabytes: PositiveFloat = 10.0,
    ) -> None:
        layout = TextLayout(form, batch_size, sequence_length, random_lengths, max_words, evaluation_batch_size)
        super().__init__(seed, assets, layout, cache, cache_gigabytes)
        self._variant, self._download = variant, download
        self._root = Path(root).expanduser()
        self._sample: Path | None = None
        self._notice: str | None = None
        trained_on = self._assets.get("dataset")
        if sample or topics.is_sample(trained_on):
            same = trained_on in (None, topics.sample_name())
            other = f" on another version: {trained_on}"
            self._use_sample("as asked. " if sample else f"as this model's training did{'' if same else other}. ")
        elif assets is None:
            self._obtain_training_files(when_missing)
        if assets is None:
            self._assets = self._learn()

    @property
    def name(self) -> str:
        return self._variant if self._sample is None else topics.sample_name()

    @property
    def notice(self) -> str | None:
        return self._notice

    def _obtain_training_files(self, when_missing: str) -> None:
        try:
            self._obtain(("train", "valid"))
        except DataError as error:
            if when_missing == "error":
                raise
            self._use_sample(f"because the files are missing:\n{error}\n")

    def _obtain(self, splits: Sequence[Split]) -> None:
        if all(locate(self._variant, self._root, split) for split in splits):
            return
        if self._download:
            fetch(self._variant, self._root)
            return
        raise DataError(
            f"{missing_message(self._variant, self._root, splits)}.\n"
            f"Run `dltrain data fetch {self._variant}`, or:\n{ways_out(self._variant, self._root)}"
        )

    def _use_sample(self, why: str) -> None:
        def make(folder: Path) -> None:
            for split, text in topics.sample_texts().items():
                write_synced(folder / f"{split}.txt", text.encode())

        key = {"format": 1, "name": topics.sample_name()}
        entry = self._cache.entry("topics", key, make)
        self._in_use.append(entry)
        self._sample = entry.path
        self._notice = (
            f"NOT PENN TREEBANK: this uses the {topics.sample_name()}, some 30,000 words of Python's own "
            f"documentation, {why}No number from it is Penn Treebank's."
        )

    def _spans(self, split: Split) -> list[LineSpan]:
        if self._sample is not None:
            file = self._scan(f"topics-{split}", self._sample / f"{split}.txt")
        else:
            self._obtain((split,))
            path = locate(self._variant, self._root, split)
            assert path is not None
            file = self._scan(f"ptb.{split}.txt", path)
        return [LineSpan(file, 0, file.lines)]

    def _learn(self) -> Assets:
        words, unknown = learn_vocabulary(self._spans("train"), "word", False, 1, None, self._cache)
        return {
            "dataset": self.name,
            "unit": "word",
            "words": words,
            "lowercase": True,  # the files are so, but for the N that stands for numbers
            "number": "N",
            "end": END,
            "unknown": unknown,
        }


@datasets.register("text", data="text")
class TextFiles(TextDataset):
    """Text files of your own, UTF-8, plain or .gz: words between white space, or characters.

    Validation and test are files of their own, or the last lines of the training files: with `validation: 0.1` and
    `test: 0.05` the first 85 % of all lines are trained on, the next 10 % are validation, the last 5 % test. The
    vocabulary is that of the lines trained on, the most frequent first, equally frequent ones by code points; each line
    ends with the token `<eos>`, and `<unk>` stands for what `min_count` and `max_vocabulary` leave out. Without them
    there is no `<unk>`, unless the text has it, and an unknown word in validation or test is an error. Every token of
    validation and test is scored once, whatever the batch size. Text is encoded once, into the cache.

    Options:
        training: files to train on, read one after the other.
        validation: share of the training files' lines, or files.
        test: share of the training files' lines, or files.
        root: folder that the files' names start from.
        unit: what a token is: a word, or a character.
        lowercase: read everything in lower case.
        min_count: what occurs less often in training is `<unk>`; when not given, 2 for words and 1 for characters.
        max_vocabulary: keep only so many tokens, the most frequent, `<eos>` and `<unk>` included.
        form: stream (one text in batch_size columns, whose windows continue each other) or sentences (a line each).
        batch_size: columns of the training text, or sentences, in a batch.
        sequence_length: tokens of each window; how far back-propagation reaches in form stream.
        random_lengths: windows of random lengths, as in Merity et al. 2018 (arXiv:1708.02182); form stream only.
        max_words: longer sentences are cut into pieces of this many words (or characters); form sentences only.
        evaluation_batch_size: columns, or sentences, in a batch of validation and test.
        cache: folder for encoded text; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: what the cache may hold; beyond it what was used least recently is removed.
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        training: Files,
        validation: Fraction | Files = 0.1,
        test: Fraction | Files = 0.0,
        root: str = ".",
        unit: Literal["word", "character"] = "word",
        lowercase: bool = False,
        min_count: PositiveInt | None = None,
        max_vocabulary: Annotated[int, Ge(3)] | None = None,
        form: TextForm = "stream",
        batch_size: PositiveInt = 20,
        sequence_length: PositiveInt = 35,
        random_lengths: bool = False,
        max_words: PositiveInt = 100,
        evaluation_batch_size: PositiveInt = 10,
        cache: str | None = None,
        cache_gigabytes: PositiveFloat = 10.0,
    ) -> None:
        layout = TextLayout(form, batch_size, sequence_length, random_lengths, max_words, evaluation_batch_size)
        super().__init__(seed, assets, layout, cache, cache_gigabytes)
        self._variant, self._root = variant, Path(root).expanduser()
        self._training = training
        self._held_out: Mapping[str, float | list[str]] = {"valid": validation, "test": test}
        self._lowercase = lowercase
        if assets is None:
            kept = min_count or (2 if unit == "word" else 1)
            words, unknown = learn_vocabulary(self._spans("train"), unit, lowercase, kept, max_vocabulary, self._cache)
            self._assets = {
                "dataset": self.name,
                "unit": unit,
                "words": words,
                "lowercase": lowercase,
                "number": None,
                "end": END,
                "unknown": unknown,
            }

    @property
    def name(self) -> str:
        return self._variant

    def _spans(self, split: Split) -> list[LineSpan]:
        own = self._held_out.get(split)
        if isinstance(own, list):
            return [LineSpan(file, 0, file.lines) for file in self._files(own)]
        if own == 0:
            return []
        files = self._files(self._training)
        first, last = self._lines(split, sum(file.lines for file in files))
        spans = []
        for file in files:
            if max(0, first) < min(file.lines, last):
                spans.append(LineSpan(file, max(0, first), min(file.lines, last)))
            first, last = first - file.lines, last - file.lines
        return spans

    def _lines(self, split: Split, lines: int) -> tuple[int, int]:
        """The first line of a split, and the one after its last, among all of the training files'."""
        shares = [0.0 if isinstance(self._held_out[one], list) else self._held_out[one] for one in ("valid", "test")]
        validation, test = (round(Rational(str(share)) * lines) for share in shares)
        train = lines - validation - test
        if train < 1:
            raise DataError(
                f"{', '.join(self._training)}: data.validation={shares[0]} and data.test={shares[1]} of {lines} lines "
                "leave none to train on; allowed are smaller shares, or files of their own."
            )
        if split != "train" and not (validation if split == "valid" else test):
            raise DataError(
                f"{', '.join(self._training)}: data.{'validation' if split == 'valid' else 'test'}="
                f"{shares[split == 'test']} of {lines} lines is no line; allowed are 0, a larger share, or files."
            )
        bounds = {"train": (0, train), "valid": (train, train + validation), "test": (train + validation, lines)}
        return bounds[split]

    def _files(self, names: Sequence[str]) -> list[TextFile]:
        paths = {name: find_file(self._root / Path(name).expanduser()) for name in names}
        missing = [name for name, path in paths.items() if path is None]
        if missing:
            raise DataError(
                f"{', '.join(missing)} (plain or .gz): not found in {self._root.absolute()}.",
                advice="mend the names in the data section, or set data.root to the folder that has the files",
            )
        return [self._scan(name, path) for name, path in paths.items() if path is not None]

    def test(self) -> Loader[Passages]:
        if self._held_out["test"] == 0:
            raise no_test_split("a share of the lines, or as files", self._held_out["valid"] != 0)
        return super().test()
