"""Recorded sentences and their transcripts as a data set: Common Voice, or the user's own recordings."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
from numpy.typing import NDArray

from dltrain.data.cache import Cache, CacheEntry, cache_directory
from dltrain.data.contents import Hashes, describe_trained, hash_fields
from dltrain.data.progress import hash_files, recall_hashes
from dltrain.data.reading import note_file
from dltrain.data.speech import check, summary
from dltrain.data.speech.augmentation import check_speech_augmentation
from dltrain.data.speech.batches import (
    BatchLimit,
    PreparedClips,
    SpeechEvaluationBatches,
    SpeechTrainingBatches,
    Utterances,
)
from dltrain.data.speech.clips import Preparation, Survey, extract_features, load_survey
from dltrain.data.speech.common_voice import CommonVoice
from dltrain.data.speech.doubts import describe_doubts, describe_pace, measure_pace
from dltrain.data.speech.log_mel import build_extractor, compute_bands
from dltrain.data.speech.manifests import Clip
from dltrain.data.speech.options import LogMel, SpeechAugmentation
from dltrain.data.speech.published import PUBLISHED
from dltrain.data.speech.sample import SAMPLE, make_spoken_sample
from dltrain.data.speech.sources import SPLITS, ClipSource, OwnManifests, SourceOptions, Split
from dltrain.data.speech.statistics import pool_moments
from dltrain.data.speech.transcripts import collect_alphabet, normalize_transcript, parse_alphabet, spell_transcript
from dltrain.data.splits import hold_out_speakers
from dltrain.dataset import DataSummary, SplitSummary
from dltrain.errors import DataError, UsageError
from dltrain.files import hash_file
from dltrain.options import (
    BatchSize,
    FilePath,
    FolderPath,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
)
from dltrain.registry import datasets
from dltrain.stream import Loader

SOURCES: Mapping[str, type[ClipSource]] = {"common_voice": CommonVoice, "audio": OwnManifests, **PUBLISHED}


class UsableClips(NamedTuple):
    """The clips of a split that can be learned from, and their targets: indices into the alphabet."""

    clips: Sequence[Clip]
    survey: Survey
    targets: Sequence[NDArray[numpy.int64]]


@dataclass
class KnownClips:
    """What has been read so far: each file, manifest and split is read once."""

    notices: dict[str, str] = field(default_factory=dict)
    listed: dict[Path, list[Clip]] = field(default_factory=dict)
    surveyed: dict[Path, Survey] = field(default_factory=dict)
    usable: dict[Split, UsableClips] = field(default_factory=dict)
    checked: dict[Split, check.CheckedClips] = field(default_factory=dict)
    digests: dict[Path, str] = field(default_factory=dict)  # the SHA-256 of each clip's file
    sample: CacheEntry | None = None


@datasets.register("common_voice", data="speech")
@datasets.register("audio", data="speech")
@datasets.register("librispeech", data="speech")
@datasets.register("speech_commands", data="speech")
class SpokenClips:
    """Recorded sentences with their transcripts: published corpora, or the user's own recordings.

    `common_voice` reads ROOT/common_voice/LOCALE, ROOT/LOCALE or ROOT as Mozilla distributes it: train.tsv, dev.tsv,
    test.tsv, validated.tsv, the folder clips, and clip_durations.tsv if it exists. `audio` reads manifests under ROOT:
    .tsv (not quoted), .csv or .jsonl files with the columns path and text, and optionally speaker; paths are relative
    to the manifest. `librispeech` reads the subsets train-clean-100, dev-clean and test-clean, or those that train,
    validation and test name, from ROOT/LibriSpeech or ROOT. `speech_commands` reads version 0.02 with its lists of
    clips to validate and test on, each clip one word, from ROOT/speech_commands_v0.02 or ROOT.

    Clips may be WAV, FLAC, OGG or MP3 files, and with the extra `media` also M4A, MP4, WebM, Matroska, 3GP and AAC, of
    any sample rate and number of channels. Channels are averaged; if that cancels them (opposite phase), the loudest
    one is used. Clips that cannot be learned from (missing, damaged, silent, without a transcript, with more text than
    CTC can align) are left out of every split and counted. Characters that are not in the alphabet are dropped from the
    transcripts, and counted.

    Features are computed once, by all cores, and kept in the cache as float16, 16 kB per second of sound at 80 bands.

    Options:
        root: folder with the locales (common_voice), with the manifests (audio), or with the corpus.
        locale: the language's folder (common_voice).
        splits: release uses Common Voice's own splits; validated trains on all clips of validated.tsv whose speaker is
            not in test.tsv, less a share for validation (common_voice).
        train: the manifest to train on, under root (audio), or the subset (librispeech).
        validation: share of the training clips to keep for validation, whole speakers at a time, 0.1 if not given; or
            (audio) a manifest or (librispeech) a subset. Published splits of validation are used if it is not given.
        test: the manifest to test on, under root (audio), or the subset (librispeech).
        sample_rate_hz: sample rate that all sound is resampled to.
        max_seconds: longer clips are left out.
        max_bad_fraction: stop if a larger share of a split's clips is bad; too long ones do not count as bad.
        subsampling: time reduction factor of the model.
        features: how features are computed from sound.
        normalize: normalise each band to zero mean and unit variance over the utterance, over all clips of the speaker
            in a split (a file to transcribe is its own speaker, to which the training corpus adds one second, unless
            --same-speaker makes all files one speaker's), or by the training corpus's statistics.
        spaces: keep a space between words.
        alphabet: the characters to spell with, such as "abcdefghijklmnopqrstuvwxyz'"; those of the training transcripts
            if not given.
        batch_size: clips in a training batch.
        batch_seconds: most seconds of sound in a training batch, padding included, before augmentation changes their
            length; instead of batch_size.
        evaluation_batch_size: clips in a batch of validation and test, if batch_seconds is not given.
        augment: random changes to the training clips' features.
        precompute: keep the features in the cache; otherwise each batch decodes its clips again, for corpora whose
            features do not fit.
        cache: folder for prepared data; $DLTRAIN_CACHE or ~/.cache/dltrain if not given.
        cache_gigabytes: limit of that folder's size; beyond it the least recently used entries are removed.
        workers: threads that prepare training batches ahead; 0 prepares them in the training thread.
        when_missing: if the corpus is missing, stop with an error, or use synthetic digits and say so (common_voice).
        sample: use the synthetic digits even if the corpus is present (common_voice).
    """

    def __init__(
        self,
        variant: str,
        seed: int,
        assets: Mapping[str, Any] | None,
        *,
        root: FolderPath = "data",
        locale: str = "en",
        splits: Literal["release", "validated"] = "release",
        train: FilePath | None = None,
        validation: Fraction | FilePath | None = None,
        test: FilePath | None = None,
        sample_rate_hz: PositiveInt = 16000,
        max_seconds: PositiveFloat = 10.0,
        max_bad_fraction: UnitInterval = 0.05,
        subsampling: Literal[2, 4] = 4,
        features: LogMel = LogMel(),
        normalize: Literal["utterance", "speaker", "corpus"] = "utterance",
        spaces: bool = True,
        alphabet: str | None = None,
        batch_size: BatchSize = 16,
        batch_seconds: PositiveFloat | None = None,
        evaluation_batch_size: PositiveInt = 32,
        augment: SpeechAugmentation | None = None,
        precompute: bool = True,
        cache: FolderPath | None = None,
        cache_gigabytes: PositiveFloat = 20.0,
        workers: NonNegativeInt = 0,
        when_missing: Literal["error", "sample"] = "error",
        sample: bool = False,
    ) -> None:
        self.name, self._seed, self._workers, self._precompute = variant, seed, workers, precompute
        self._max_bad_fraction, self._augmentation = max_bad_fraction, augment or SpeechAugmentation()
        self._cache = Cache(cache_directory(cache), cache_gigabytes * 1e9)
        self._known = KnownClips()
        self.fingerprint: dict[str, str] = {}  # of each table read, and of its clips: a line with name and hash of each
        check_speech_augmentation(self._augmentation)
        options = SourceOptions(
            root=Path(root).expanduser(), locale=locale, splits=splits, train=train, validation=validation, test=test
        )
        self.assets: dict[str, Any] = dict(assets or {}) or {
            "dataset": variant,
            "alphabet": [] if alphabet is None else parse_alphabet(alphabet, spaces),
            "subsampling": subsampling,
            "sample_rate_hz": sample_rate_hz,
            "features": asdict(features),
            "bands": features.bands,
            "normalization": {"over": normalize},
            "text": {"spaces": spaces},
        }
        self._preparation = Preparation(self.assets["sample_rate_hz"], LogMel(**self.assets["features"]), max_seconds)
        self._limits = self._make_limits(batch_size, evaluation_batch_size, batch_seconds)
        self.source = self._choose_source(SOURCES[variant](options), when_missing, sample, trained=assets is not None)
        if assets is None:
            self._learn()

    @property
    def notice(self) -> str | None:
        return "\n".join(self._known.notices.values()) or None

    def training(self) -> Loader[Utterances]:
        features = self._preparation.features
        batches = SpeechTrainingBatches(
            self._prepare_clips("training"),
            self._limits[0],
            seed=self._seed,
            augmentation=self._augmentation,
            subsampling=int(self.assets["subsampling"]),
            hop_seconds=features.hop_ms / 1000,
            bands=compute_bands(features, self._preparation.sample_rate_hz),
        )
        return Loader(batches, self._workers)

    def validation(self) -> Loader[Utterances]:
        return Loader(SpeechEvaluationBatches(self._prepare_clips("validation"), self._limits[1]))

    def test(self) -> Loader[Utterances]:
        trained = self._hash_trained()
        if trained is not None and (notice := describe_trained(self.identities("test"), trained, "clips")):
            self._known.notices["trained"] = notice
        return Loader(SpeechEvaluationBatches(self._prepare_clips("test"), self._limits[1]))

    def summarize(self) -> DataSummary:
        splits = []
        for split in SPLITS:
            manifest = self.source.locate_manifest(split)
            if manifest is not None:
                usable = self._known.usable.get(split)
                count, files = None if usable is None else len(usable.clips), (str(manifest),)
                splits.append(SplitSummary(name=split, examples=count, files=files))
        checked, shared = self._known.checked, self.source.is_shared("validation")
        return DataSummary(
            unit="clips",
            division=f"validation has whole speakers, drawn with seed {self._seed}" if shared else None,
            splits=tuple(splits),
            treatments=summary.list_treatments(checked, self._preparation.max_seconds),
            facts=summary.list_facts(checked, self.assets),
        )

    def identities(self, split: Split) -> Hashes:
        """The content of each clip's file, and its transcript."""
        clips = self._find_usable(split).clips
        return hash_clips(clips, [self._known.digests[clip.path] for clip in clips])

    def show_raw(self, split: Split, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The name, transcript and speaker of some clips as their table has them."""
        clips = self._find_usable(split).clips
        return [{"clip": clips[at].name, "text": clips[at].text, "speaker": clips[at].speaker} for at in indices]

    def name_examples(self, split: Split, indices: Sequence[int]) -> list[str]:
        """The name of each clip in its table."""
        clips = self._find_usable(split).clips
        return [clips[at].name for at in indices]

    def _hash_trained(self) -> Hashes | None:
        """Hash the clips of the training table, if their files have been hashed before; none is read."""
        try:
            clips, _ = self.source.read_clips(self.source.find_manifest("training"))
        except DataError:
            return None
        digests = recall_hashes("clips", [clip.path for clip in clips], self._cache)
        return None if digests is None else hash_clips(clips, digests)

    def transcripts(self) -> list[str]:
        alphabet = self.assets["alphabet"]
        return ["".join(alphabet[index] for index in target) for target in self._find_usable("training").targets]

    def digest_of(self, clip: Clip) -> str:
        """The SHA-256 of the file of a clip whose split has been read."""
        return self._known.digests[clip.path]

    def _make_limits(
        self, training_clips: int, evaluation_clips: int, seconds: float | None
    ) -> tuple[BatchLimit, BatchLimit]:
        """Limit the batches of training and of evaluation. Raises UsageError if the longest clip does not fit."""
        if seconds is None:
            return BatchLimit(training_clips), BatchLimit(evaluation_clips)
        longest = self._preparation.max_seconds
        if seconds < longest + 1:
            raise UsageError(
                f"data.batch_seconds: {seconds:g} is too little for one clip of max_seconds {longest:g}; "
                f"allowed is {longest + 1:g} or more."
            )
        limit = BatchLimit(None, int(seconds * 1000 / self._preparation.features.hop_ms))
        return limit, limit

    def _choose_source(self, source: ClipSource, when_missing: str, sample: bool, trained: bool) -> ClipSource:
        """Choose the corpus, or the sample in its place. For training, all manifests it needs must exist."""
        source.check_options(not trained)
        if (sample or when_missing == "sample") and not source.has_sample:
            option = "sample: true" if sample else "when_missing: sample"
            raise UsageError(f"data.{option}: the sample stands in for common_voice only; allowed is an error.")
        notice = SAMPLE.substitute(
            self.assets if trained else None, sample, when_missing, check_files=source.check_present
        )
        if notice is None:
            if not trained:  # otherwise reported once a split is needed
                self._find_manifests(source)
            return source
        self._known.sample = make_spoken_sample(self._cache)  # kept, since its lock keeps the files
        self._known.notices["sample"] = notice
        self.name = SAMPLE.name
        if not trained:
            self.assets["dataset"] = SAMPLE.name
        root = self._known.sample.path
        return OwnManifests(SourceOptions(root=root, train="train.tsv", validation="dev.tsv", test="test.tsv"))

    def _find_manifests(self, source: ClipSource) -> None:
        """Raise DataError if a manifest is missing that training needs; only note a missing test manifest."""
        source.find_manifest("training")
        source.find_manifest("validation")
        try:
            if source.locate_manifest("test") is not None:
                source.find_manifest("test")
        except DataError as error:
            self._known.notices["no test"] = f"This can be trained, but not tested yet: {error}"

    def _learn(self) -> None:
        """Learn alphabet and statistics from the training split. The validation split is checked as well."""
        self._list_clips(self.source.find_manifest("training"))  # faults of tables are found before sound is read
        self._list_clips(self.source.find_manifest("validation"))
        training = self._find_usable("training")
        if self.assets["normalization"]["over"] != "utterance":
            corpus = ["" for _ in training.clips]
            mean, variance = pool_moments(training.survey.frames, training.survey.moments, corpus)[0]
            self.assets["normalization"] |= {"mean": mean.tolist(), "variance": variance.tolist()}
        if pace := measure_pace(training.targets, training.survey.seconds):
            self.assets["pace"] = pace
        self._find_usable("validation")

    def _prepare_clips(self, split: Split) -> PreparedClips:
        clips, survey, targets = self._find_usable(split)
        normalization, statistics = self.assets["normalization"], None
        if normalization["over"] == "speaker":
            statistics = pool_moments(survey.frames, survey.moments, [clip.speaker or clip.name for clip in clips])
        elif normalization["over"] == "corpus":
            fixed = numpy.array([normalization["mean"], normalization["variance"]], numpy.float32)
            statistics = numpy.broadcast_to(fixed, (len(clips), *fixed.shape))
        features, options = survey.features_of, self._preparation.features
        if not self._precompute:
            extract = build_extractor(options, self._preparation.sample_rate_hz)
            features = partial(extract_features, clips, self._preparation, extract)
        return PreparedClips(
            clips, survey.frames, targets, features, statistics=statistics, speech_db=options.speech_db
        )

    def _find_usable(self, split: Split) -> UsableClips:
        """Return a split without the bad clips, which are counted. Raises DataError if there are too many."""
        if split in self._known.usable:
            return self._known.usable[split]
        checked = self._known.checked[split] = self.check_clips(split)
        if checked.clips:
            check.check_share(checked, self._max_bad_fraction, self._describe_check(split, bool(checked.dropped)))
        usable = numpy.array([index for index, fault in enumerate(checked.faults) if fault is None], numpy.int64)
        symbols = self._index_alphabet()
        notices = [check.describe_left_out(f"{split} split", checked, self._preparation.max_seconds)]
        texts, clips = ([every[index] for index in usable.tolist()] for every in (checked.texts, checked.clips))
        doubts = [*check.describe_marks(checked, self._preparation.sample_rate_hz)]
        doubts += self._list_doubts(clips, texts, checked.survey.seconds[usable])
        notices += [f"{split}: {one}" for one in doubts]
        if any(notices):
            self._known.notices[split] = "\n".join(filter(None, notices))
        targets = [numpy.array([symbols[letter] for letter in text], numpy.int64) for text in texts]
        self._known.usable[split] = UsableClips(clips, checked.survey.select(usable), targets)
        return self._known.usable[split]

    def _list_doubts(self, clips: Sequence[Clip], texts: Sequence[str], seconds: NDArray[numpy.float64]) -> list[str]:
        """List doubts about the usable clips of a split, also compared with the training clips."""
        digests = [self._known.digests[clip.path] for clip in clips]
        pace = describe_pace(measure_pace(texts, seconds), self.assets.get("pace"))
        return [*describe_doubts(clips, texts, seconds, digests), *pace]

    def check_clips(self, split: Split) -> check.CheckedClips:
        """Find a split's clips and why each is left out. If no alphabet was given, check the training split first.

        Raises DataError if the split is missing, or its table cannot be read.
        """
        manifest, clips, survey = self._survey_split(split)
        spaces, alphabet = self.assets["text"]["spaces"], self.assets["alphabet"]
        texts = [normalize_transcript(clip.text, spaces) for clip in clips]
        dropped: Counter[str] = Counter()
        if alphabet:
            spellings = [spell_transcript(text, self._index_alphabet()) for text in texts]
            texts = [spelling.text for spelling in spellings]
            dropped = sum((spelling.dropped for spelling in spellings), Counter())
        faults = check.find_clip_faults(clips, survey, texts, self.assets["subsampling"])
        usable = [text for text, fault in zip(texts, faults, strict=True) if fault is None]
        if usable and not alphabet:
            self.assets["alphabet"] = collect_alphabet(usable, spaces)
        return check.CheckedClips(manifest, clips, survey, texts=texts, faults=faults, dropped=dropped)

    def _describe_check(self, split: Split, dropped: bool) -> str:
        """The command that lists all of a split's bad clips: by options if they suffice, otherwise by a config."""
        usual, prepared = Preparation(), self._preparation
        frames = [(one.sample_rate_hz, one.features.window_ms, one.features.hop_ms) for one in (usual, prepared)]
        plain = frames[0] == frames[1] and self.assets["text"]["spaces"] and not dropped
        if not plain or self.source.is_shared(split) or self._known.sample is not None:
            return "`dltrain data check CONFIG` (the config with its --set flags, or the run's directory)"
        arguments = ["dltrain", "data", "check", self.name, *self.source.list_check_arguments(split)]
        if self.assets["subsampling"] != 4:
            arguments += ["--subsampling", str(self.assets["subsampling"])]
        if prepared.max_seconds != usual.max_seconds:
            arguments += ["--max-seconds", str(prepared.max_seconds)]
        return f"`{shlex.join(arguments)}`"

    def _index_alphabet(self) -> dict[str, int]:
        return {character: index for index, character in enumerate(self.assets["alphabet"])}

    def _survey_split(self, split: Split) -> tuple[Path, Sequence[Clip], Survey]:
        """Survey a split's clips. Raises DataError if there is no such split."""
        manifest = self.source.find_manifest(split)
        clips = self._list_clips(manifest)
        if not self.source.is_shared(split):
            return manifest, clips, self._survey_manifest(manifest)
        fraction = 0.1 if self.source.options.validation is None else float(self.source.options.validation)
        kept = hold_out_speakers([clip.speaker or clip.name for clip in clips], fraction, self._seed)
        if fraction and kept.all() | ~kept.any():
            raise DataError(
                f"{manifest}: all its clips are of one speaker, so no part can be kept for validation; name a "
                "manifest of other clips with data.validation."
            )
        indices = numpy.flatnonzero(kept if split == "validation" else ~kept)
        survey = self._survey_manifest(manifest).select(indices)
        return manifest, [clips[index] for index in indices.tolist()], survey

    def _list_clips(self, manifest: Path) -> list[Clip]:
        listed = self._known.listed
        if manifest not in listed:
            listed[manifest], files = self.source.read_clips(manifest)
            for path in files:
                note_file(path)
            self.fingerprint |= {path.name: hash_file(path) for path in files if path.exists()}
        return listed[manifest]

    def _survey_manifest(self, manifest: Path) -> Survey:
        """Survey all clips of a manifest, once."""
        if manifest in self._known.surveyed:
            return self._known.surveyed[manifest]
        clips = self._list_clips(manifest)
        digests = hash_files("clips", [clip.path for clip in clips], "clips", self._cache)
        self._known.digests |= dict(zip((clip.path for clip in clips), digests, strict=True))
        listed = hashlib.sha256("".join(f"{c.name} {d}\n" for c, d in zip(clips, digests, strict=True)).encode())
        self.fingerprint[f"clips of {manifest.name}"] = listed.hexdigest()
        description = f"features of {manifest.name}"
        self._known.surveyed[manifest] = load_survey(
            clips, digests, self._preparation, description=description, cache=self._cache, keep=self._precompute
        )
        return self._known.surveyed[manifest]


def hash_clips(clips: Sequence[Clip], digests: Sequence[str]) -> Hashes:
    """Hash each clip, from the hash of its file and its transcript."""
    rows = zip(digests, clips, strict=True)
    return hash_fields((digest, normalize_transcript(clip.text)) for digest, clip in rows)
