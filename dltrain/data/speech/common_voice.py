"""Spoken sentences and what was said in them: Common Voice, and recordings of the user's own."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from dltrain.data.cache import Cache, Entry, cache_directory
from dltrain.data.speech.batches import EvaluationBatches, Limit, Spoken, TrainingBatches, Utterances
from dltrain.data.speech.check import Judgement, check_share, judged, locale_folder, notice
from dltrain.data.speech.clips import Preparation, Survey, content_digests, features_on_the_fly, remembered
from dltrain.data.speech.log_mel import Extractor, Features, Windows, bands_of, extractor
from dltrain.data.speech.manifests import DURATIONS, Clip, read_common_voice, read_manifest
from dltrain.data.speech.sample import SAMPLE_NAME, spoken_sample
from dltrain.data.speech.transcripts import collected, given, normalized, spelled
from dltrain.errors import DataError, UsageError
from dltrain.files import sha256
from dltrain.options import (
    Fraction,
    LogMel,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SpeechAugmentation,
    UnitInterval,
)
from dltrain.registry import datasets
from dltrain.runtime.seeds import generator
from dltrain.stream import Loader

Split = Literal["training", "validation", "test"]
RELEASED: Mapping[Split, str] = {"training": "train", "validation": "dev", "test": "test"}
"""Common Voice's names of the splits."""


class Table(NamedTuple):
    """Some or all clips of a manifest, and what was found in their sound."""

    manifest: Path
    clips: Sequence[Clip]
    survey: Survey


class Usable(NamedTuple):
    """The clips of a split that can be learned from, and what they say."""

    clips: Sequence[Clip]
    survey: Survey
    targets: Sequence[NDArray[numpy.int64]]


@datasets.register("common_voice", data="speech")
@datasets.register("audio", data="speech")
class SpokenClips:
    """Recorded sentences with their transcripts: a Common Voice release, or recordings of the user's own.

    `common_voice` reads ROOT/common_voice/LOCALE, ROOT/LOCALE or ROOT as Mozilla gives it out: train.tsv, dev.tsv,
    test.tsv, validated.tsv, the folder clips, and clip_durations.tsv where there is one. `audio` reads manifests under
    ROOT: .tsv (not quoted), .csv or .jsonl files with the columns path and text, and perhaps speaker; paths are
    relative to the manifest.

    Clips may be WAV, FLAC, OGG or MP3 files of any sample rate and number of channels. Those that cannot be learned
    from (missing, damaged, silent, without a transcript, with more text than CTC can align) are left out of every split
    and counted. Characters that the alphabet does not have are dropped from the transcripts, and counted.

    Features are computed once, by all cores, and kept in the cache as float16, 16 kB a second of sound at 80 bands.

    Options:
        root: folder with the locales (common_voice), or with the manifests (audio).
        locale: the language's folder (common_voice).
        splits: release takes Common Voice's own splits; validated trains on all clips of validated.tsv whose speaker is
            not in test.tsv, less a share for validation (common_voice).
        train: the manifest to train on, under root (audio).
        validation: share of the training clips that is kept for validation, whole speakers at a time; 0.1 when not
            given; or (audio) a manifest. Not for Common Voice's own splits.
        test: the manifest to test on, under root (audio).
        sample_rate_hz: what all sound is resampled to.
        max_seconds: clips that last longer are left out.
        max_bad_fraction: stop when a larger share of a split's clips is bad; too long ones do not count as bad.
        subsampling: frames that the model makes one of.
        features: how sound becomes numbers.
        normalize: zero mean and unit variance of each band over the utterance, over all clips of the speaker in a split
            (a file to transcribe is its own speaker, of whom the training corpus counts as one more second, unless all
            are the --same-speaker's), or by the training corpus's statistics.
        spaces: keep a space between words.
        alphabet: the characters to spell with, such as "abcdefghijklmnopqrstuvwxyz'"; those of the training transcripts
            when not given.
        batch_size: clips in a training batch.
        batch_seconds: most seconds of sound in a training batch, padding included, before augmentation changes their
            length; instead of batch_size.
        evaluation_batch_size: clips in a batch of validation and test, where batch_seconds is not given.
        augment: random changes to the training clips' features.
        precompute: keep the features in the cache; without, each batch decodes its clips anew, for corpora whose
            features do not fit.
        cache: folder for prepared data; $DLTRAIN_CACHE or ~/.cache/dltrain when not given.
        cache_gigabytes: limit of that folder's size; what was used least recently is removed beyond it.
        workers: threads that make training batches ahead of their use; 0 makes them in the training thread.
        when_missing: without the corpus, stop with an error, or use synthetic digits and say so (common_voice).
        sample: use the synthetic digits even where the corpus is (common_voice).
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: str = "data",
        locale: str = "en",
        splits: Literal["release", "validated"] = "release",
        train: str | None = None,
        validation: Fraction | str | None = None,
        test: str | None = None,
        sample_rate_hz: PositiveInt = 16000,
        max_seconds: PositiveFloat = 10.0,
        max_bad_fraction: UnitInterval = 0.05,
        subsampling: Literal[2, 4] = 4,
        features: LogMel = LogMel(),
        normalize: Literal["utterance", "speaker", "corpus"] = "utterance",
        spaces: bool = True,
        alphabet: str | None = None,
        batch_size: PositiveInt = 16,
        batch_seconds: PositiveFloat | None = None,
        evaluation_batch_size: PositiveInt = 32,
        augment: SpeechAugmentation | None = None,
        precompute: bool = True,
        cache: str | None = None,
        cache_gigabytes: PositiveFloat = 20.0,
        workers: NonNegativeInt = 0,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        self._variant, self._seed = variant, seed
        self._root, self._locale, self._splits = Path(root).expanduser(), locale, splits
        self._train, self._validation, self._test = train, validation, test
        self._assets: dict[str, Any] = dict(assets or {})
        self._check(when_missing, sample, batch_seconds, max_seconds, augment)
        self._preparation = Preparation(sample_rate_hz, features, max_seconds)
        self._max_bad_fraction, self._precompute = max_bad_fraction, precompute
        self._batch_size, self._batch_seconds = batch_size, batch_seconds
        self._evaluation_batch_size = evaluation_batch_size
        self._augmentation, self._workers = augment or SpeechAugmentation(), workers
        self._cache = Cache(cache_directory(cache), cache_gigabytes * 1e9)
        self._fingerprint: dict[str, str] = {}
        self._notices: dict[str, str] = {}
        self._listed: dict[Path, list[Clip]] = {}
        self._tables: dict[Path, Table] = {}
        self._splits_read: dict[Split, Usable] = {}
        self._sample: Entry | None = None
        if assets is not None:
            self._preparation = Preparation(assets["sample_rate_hz"], LogMel(**assets["features"]), max_seconds)
        self._find(when_missing, sample)
        if assets is None:
            Windows(features, sample_rate_hz)
            self._assets = {
                "dataset": self.name,
                "alphabet": [] if alphabet is None else given(alphabet, spaces),
                "subsampling": subsampling,
                "sample_rate_hz": sample_rate_hz,
                "features": asdict(features),
                "bands": features.bands,
                "normalization": {"over": normalize},
                "text": {"spaces": spaces},
            }
            self._learn()

    @property
    def name(self) -> str:
        return self._variant if self._sample is None else SAMPLE_NAME

    @property
    def assets(self) -> Mapping[str, Any]:
        return self._assets

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The SHA-256 of each table read, and of the list of its clips: a line with name and SHA-256 of each."""
        return dict(self._fingerprint)

    @property
    def notice(self) -> str | None:
        return "\n".join(self._notices.values()) or None

    def training(self) -> Loader[Utterances]:
        hop_seconds = self._preparation.features.hop_ms / 1000
        subsampling = int(self._assets["subsampling"])
        limit = self._limit(self._batch_size)
        bands = bands_of(self._preparation.features, self._rate)
        spoken = self._spoken("training")
        batches = TrainingBatches(spoken, limit, self._seed, self._augmentation, subsampling, hop_seconds, bands)
        return Loader(batches, self._workers)

    def validation(self) -> Loader[Utterances]:
        return self._evaluation("validation")

    def test(self) -> Loader[Utterances]:
        return self._evaluation("test")

    def _evaluation(self, split: Split) -> Loader[Utterances]:
        return Loader(EvaluationBatches(self._spoken(split), self._limit(self._evaluation_batch_size)))

    def _limit(self, clips: int) -> Limit:
        if self._batch_seconds is None:
            return Limit(clips)
        return Limit(None, int(self._batch_seconds * 1000 / self._preparation.features.hop_ms))

    def _check(
        self,
        when_missing: str,
        sample: bool,
        batch_seconds: float | None,
        max_seconds: float,
        augment: SpeechAugmentation | None,
    ) -> None:
        """Raises UsageError for options that do not go together."""
        if self._variant == "audio":
            if sample or when_missing == "sample":
                option = "sample: true" if sample else "when_missing: sample"
                raise UsageError(f"data.{option}: the sample stands in for common_voice only; allowed is an error.")
            if self._train is None:
                raise UsageError("data.train: not given; allowed is the name of a manifest under data.root.")
        elif self._train is not None or self._test is not None or isinstance(self._validation, str):
            raise UsageError(
                "data.train, data.validation, data.test: common_voice has tables of its own, chosen by data.splits; "
                "manifests are for data.name: audio."
            )
        elif self._splits == "release" and self._validation is not None and not self._assets:
            raise UsageError(
                f"data.validation: {self._validation:g} is not used with data.splits: release, which validates on "
                "dev.tsv",
                advice="leave it out, or set data.splits: validated",
            )
        if batch_seconds is not None and batch_seconds < max_seconds + 1:
            raise UsageError(
                f"data.batch_seconds: {batch_seconds:g} is too little for one clip of max_seconds {max_seconds:g}; "
                f"allowed is {max_seconds + 1:g} or more."
            )
        if augment is not None and augment.speed is not None and augment.tempo is not None:
            raise UsageError(
                "data.augment: speed and tempo were both given; allowed is one of them",
                advice="keep speed, which changes the pitch too, or tempo, which does not",
            )
        if augment is not None and augment.noise_snr_db[0] > augment.noise_snr_db[1]:
            raise UsageError(
                f"data.augment.noise_snr_db: {list(augment.noise_snr_db)}; allowed are two numbers, the lower first."
            )
        if augment is not None and augment.warp is not None and augment.warp[0] > augment.warp[1]:
            raise UsageError(f"data.augment.warp: {list(augment.warp)}; allowed are two numbers, the lower first.")

    def _find(self, when_missing: str, sample: bool) -> None:
        """Decide whether the sample stands in, and where Common Voice's tables lie."""
        why = "as asked." if sample else "as this model's training did."
        if not (sample or self._assets.get("dataset") == SAMPLE_NAME):
            try:
                if self._variant == "common_voice":
                    self._root = locale_folder(self._root, self._locale)
            except DataError as error:
                if self._assets:  # for evaluation: said when a split is asked for
                    return
                if when_missing == "error":
                    raise
                why = f"because the corpus is missing:\n{error}\n"
            else:
                if not self._assets:
                    self._find_tables()
                return
        self._sample = spoken_sample(self._cache)
        self._notices["sample"] = (
            f"NOT COMMON VOICE: this uses the {SAMPLE_NAME}, strings of digits spoken by a program, {why} No number "
            "from it is Common Voice's."
        )

    def _find_tables(self) -> None:
        """Look for each split's table. Raises DataError where one is missing that training reads."""
        self._find_table("training")
        self._find_table("validation")
        try:
            if self.manifest("test") is not None:
                self._find_table("test")
        except DataError as error:
            self._notices["no test"] = f"This can be trained, but not tested yet: {error}"

    def _find_table(self, split: Split) -> Path:
        """A split's table; raises DataError where it is missing."""
        path = self.manifest(split)
        if path is None:
            raise DataError("data.test: names no manifest, so there is no test split; use --split validation.")
        if path.exists():
            return path
        if self._variant == "audio":
            option = "train" if path == self.manifest("training") else split
            raise DataError(
                f"data.{option}: {path}: no such file",
                advice=f"correct data.{option}, or data.root, where it starts from",
            )
        other = ""
        if split != "test" and self._splits == "validated":
            other = ", or set data.splits: release"
        elif split != "test" and path.with_name("validated.tsv").exists():
            other = ", or set data.splits: validated, which trains and validates on validated.tsv"
        raise DataError(
            f"{path}: no such file; with data.splits: {self._splits} it has the {split} split", advice=f"add it{other}"
        )

    def _learn(self) -> None:
        """What a model is built on, from the training split; the validation split is looked into as well."""
        self._clips(self._find_table("training"))  # a fault of either table is found before any sound is read
        self._clips(self._find_table("validation"))
        training = self._usable("training")
        if self._assets["normalization"]["over"] != "utterance":
            one = ["" for _ in training.clips]
            mean, variance = pooled(training.survey.frames, training.survey.moments, one)[0]
            self._assets["normalization"] |= {"mean": mean.tolist(), "variance": variance.tolist()}
        self._usable("validation")

    def _spoken(self, split: Split) -> Spoken:
        usable = self._usable(split)
        survey, clips = usable.survey, usable.clips
        normalization, statistics = self._assets["normalization"], None
        if normalization["over"] == "speaker":
            statistics = pooled(survey.frames, survey.moments, [clip.speaker or clip.name for clip in clips])
        elif normalization["over"] == "corpus":
            fixed = numpy.array([normalization["mean"], normalization["variance"]], numpy.float32)
            statistics = numpy.broadcast_to(fixed, (len(clips), *fixed.shape))
        features = survey.features_of
        if not self._precompute:
            features = partial(self._decoded, clips, extractor(self._preparation.features, self._rate))
        return Spoken(clips, survey.frames, usable.targets, features, statistics, self._preparation.features.speech_db)

    @property
    def _rate(self) -> int:
        return self._preparation.sample_rate_hz

    def _decoded(self, clips: Sequence[Clip], extract: Extractor, place: int) -> Features:
        return features_on_the_fly(clips[place], self._preparation, extract)

    def transcripts(self) -> list[str]:
        """What is said in each clip of the training split, as the model is to spell it."""
        alphabet = self._assets["alphabet"]
        return ["".join(alphabet[place] for place in target) for target in self._usable("training").targets]

    def clip_name(self, split: Split, clip: int) -> str:
        """Which file a batch's clip is."""
        return self._usable(split).clips[clip].name

    def _usable(self, split: Split) -> Usable:
        """A split without the clips that are left out; those are counted, and too many of them a DataError."""
        if split not in self._splits_read:
            self._splits_read[split] = self._sifted(split)
        return self._splits_read[split]

    def judgement(self, split: Split) -> Judgement:
        """A split's clips and why each is left out; where no alphabet was given, the training split comes first.

        Raises DataError where the split is missing, or its table cannot be read.
        """
        manifest, clips, survey = self._table(split)
        texts = [normalized(clip.text, self._assets["text"]["spaces"]) for clip in clips]
        dropped: Counter[str] = Counter()
        if self._assets["alphabet"]:
            places = self._places()
            spellings = [spelled(text, places) for text in texts]
            texts = [spelling.text for spelling in spellings]
            dropped = sum((spelling.dropped for spelling in spellings), Counter())
        faults = judged(clips, survey, texts, self._assets["subsampling"])
        fine = [text for text, fault in zip(texts, faults, strict=True) if fault is None]
        if fine and not self._assets["alphabet"]:
            self._assets["alphabet"] = collected(fine, self._assets["text"]["spaces"])
        return Judgement(manifest, clips, survey, texts, faults, dropped)

    def _sifted(self, split: Split) -> Usable:
        manifest, clips, survey, texts, faults, dropped = self.judgement(split)
        if clips:
            check_share(clips, faults, self._max_bad_fraction, manifest, self._showing(split, bool(dropped)))
        usable = numpy.array([place for place, fault in enumerate(faults) if fault is None], numpy.int64)
        places = self._places()
        self._tell(split, notice(f"{split} split", clips, faults, self._preparation.max_seconds), dropped)
        targets = [numpy.array([places[character] for character in texts[place]], numpy.int64) for place in usable]
        return Usable([clips[place] for place in usable.tolist()], survey.only(usable), targets)

    def _showing(self, split: Split, dropped: bool) -> str:
        """The command that names all of a split's bad clips: by its options, or where they do not do, by a config."""
        usual, prepared = Preparation(), self._preparation
        frames = [(one.sample_rate_hz, one.features.window_ms, one.features.hop_ms) for one in (usual, prepared)]
        plain = frames[0] == frames[1] and self._assets["text"]["spaces"] and not dropped
        if not plain or self._shared(split) or self._sample is not None:
            return "`dltrain data check CONFIG` (the config with its --set flags, or the run's directory)"
        place = self._root if self._variant == "common_voice" else self.manifest(split)
        words = ["dltrain", "data", "check", self._variant, "--root", str(place)]
        for option, value, default in (
            ("--locale", self._locale, "en"),
            ("--subsampling", self._assets["subsampling"], 4),
            ("--max-seconds", prepared.max_seconds, usual.max_seconds),
        ):
            words += [option, str(value)] if value != default else []
        return f"`{shlex.join(words)}`"

    def _places(self) -> dict[str, int]:
        return {character: place for place, character in enumerate(self._assets["alphabet"])}

    def _tell(self, split: Split, left_out: str | None, dropped: Counter[str]) -> None:
        parts = [left_out] if left_out else []
        if dropped:
            shown = ", ".join(f"{character!r} {count}" for character, count in dropped.most_common(5))
            parts.append(
                f"{split} split: {dropped.total()} characters that the alphabet does not have are dropped from the "
                f"transcripts ({shown}{', ...' if len(dropped) > 5 else ''})."
            )
        if parts:
            self._notices[split] = "\n".join(parts)

    def manifest(self, split: Split) -> Path | None:
        """Where a split's clips are named, there or not; None for a test split that nobody named."""
        if self._sample is not None:
            return self._sample.path / f"{RELEASED[split]}.tsv"
        if self._variant == "common_voice":
            table = "validated" if self._shared(split) else RELEASED[split]
            return locale_folder(self._root, self._locale) / f"{table}.tsv"
        own = {"training": self._train, "validation": self._validation, "test": self._test}[split]
        name = self._train if self._shared(split) else own
        return None if name is None else self._root / str(name)

    def _shared(self, split: Split) -> bool:
        """Whether a split is a part of the manifest of both training and validation."""
        if self._sample is not None or split == "test":
            return False
        if self._variant == "common_voice":
            return self._splits == "validated"
        return not isinstance(self._validation, str)

    def _table(self, split: Split) -> Table:
        """A split's clips, looked into. Raises DataError where there is no such split."""
        manifest = self._find_table(split)
        return self._share(manifest, split) if self._shared(split) else self._read(manifest)

    def _share(self, manifest: Path, split: Split) -> Table:
        """The part of a manifest that is kept for validation, or the rest of it."""
        clips, fraction = self._clips(manifest), 0.1 if self._validation is None else float(self._validation)
        kept = held_out([clip.speaker or clip.name for clip in clips], fraction, self._seed)
        if fraction and kept.all() | ~kept.any():
            raise DataError(
                f"{manifest}: all its clips are of one speaker, so that no part can be kept for validation; name a "
                "manifest of other clips with data.validation."
            )
        places = numpy.flatnonzero(kept if split == "validation" else ~kept)
        return Table(manifest, [clips[place] for place in places.tolist()], self._read(manifest).survey.only(places))

    def _clips(self, manifest: Path) -> list[Clip]:
        """A whole manifest, but for clips of the test split in Common Voice's validated.tsv; read once."""
        if manifest in self._listed:
            return self._listed[manifest]
        if self._variant == "common_voice" and self._sample is None:
            clips = read_common_voice(manifest.parent, manifest.stem)
            self._note(manifest.parent / DURATIONS)
            if manifest.stem == "validated" and (manifest.parent / "test.tsv").exists():
                clips = self._without_test(clips, manifest)
        else:
            clips = read_manifest(manifest)
        self._note(manifest)
        self._listed[manifest] = clips
        return clips

    def _read(self, manifest: Path) -> Table:
        """The clips of a manifest, looked into; once."""
        if manifest in self._tables:
            return self._tables[manifest]
        clips = self._clips(manifest)
        digests = content_digests(clips, self._cache)
        listed = hashlib.sha256("".join(f"{c.name} {d}\n" for c, d in zip(clips, digests, strict=True)).encode())
        self._fingerprint[f"clips of {manifest.name}"] = listed.hexdigest()
        what = f"features of {manifest.name}"
        survey = remembered(clips, digests, self._preparation, what, self._cache, self._precompute)
        self._tables[manifest] = Table(manifest, clips, survey)
        return self._tables[manifest]

    def _without_test(self, clips: list[Clip], manifest: Path) -> list[Clip]:
        """Without what will be tested on, and without anything else by the same speakers."""
        tested = read_common_voice(manifest.parent, "test")
        self._note(manifest.parent / "test.tsv")
        names, speakers = {clip.name for clip in tested}, {clip.speaker for clip in tested} - {""}
        rest = [clip for clip in clips if clip.name not in names and clip.speaker not in speakers]
        if not rest:
            raise DataError(f"{manifest}: all its clips are of the test split's speakers; none is left to train on.")
        return rest

    def _note(self, path: Path) -> None:
        if path.exists():
            self._fingerprint[path.name] = sha256(path)


def held_out(speakers: Sequence[str], fraction: float, seed: int) -> NDArray[numpy.bool_]:
    """Which clips are kept for validation, (N,) bool: all those of some speakers, about a share `fraction` of them.

    Speakers are drawn in an order that the seed decides, and those taken whose clips still fit into the share; where
    nobody's do, the one with fewest. A single speaker is never taken.
    """
    counts = Counter(speakers)
    names = sorted(counts)
    order = torch.randperm(len(names), generator=generator("validation speakers", seed)).tolist()
    left, chosen = round(fraction * len(speakers)), set()
    for place in order:
        if counts[names[place]] <= left:
            chosen.add(names[place])
            left -= counts[names[place]]
    if fraction and not chosen and len(names) > 1:
        chosen.add(min(names, key=lambda name: counts[name]))
    return numpy.array([speaker in chosen for speaker in speakers], bool)


def pooled(frames: NDArray[Any], moments: NDArray[Any], groups: Sequence[str]) -> NDArray[Any]:
    """Each clip's mean and variance of the bands over all clips of its group, (N, 2, bands) float32.

    From each clip's own `moments` (N, 2, bands) over its `frames` (N,), by the law of total variance.
    """
    shared = numpy.empty(moments.shape, numpy.float32)
    members: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    for places in members.values():
        weights = (frames[places] / frames[places].sum())[:, None]
        means, variances = moments[places].astype(numpy.float64).transpose(1, 0, 2)
        mean = (weights * means).sum(0)
        shared[places] = mean, (weights * (variances + (means - mean) ** 2)).sum(0)
    return shared
