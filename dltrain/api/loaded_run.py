"""`dltrain.load`: a trained run in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dltrain.api.host import PythonMessenger, borrow_torch, issue_warning, name_faults
from dltrain.config.trust import trust_everything
from dltrain.core.checkpoint import Checkpoints
from dltrain.errors import DataError, UsageError
from dltrain.kinds import ReadsValues
from dltrain.runs.finding import find_checkpoint, find_run
from dltrain.runs.listing import ListedRun
from dltrain.runs.prediction import Inversion, Prediction, make_predictor

if TYPE_CHECKING:
    from torch import nn

    from dltrain.data.speech.transcription import Recording
    from dltrain.runs.loading import Trained


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of a model on one split; None for a metric that is undefined there.

    `details` is everything that `dltrain eval --json` prints: classes, confusion matrix, baselines, worst examples.
    """

    split: str
    metrics: Mapping[str, float | None]
    details: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class GeneratedText:
    """A text that a language model wrote after `prompt`, which is as the model reads it.

    `tokens` are its words or characters with their log-probabilities; `ended` is "stop" or "max_tokens".
    """

    prompt: str
    text: str
    tokens: Sequence[tuple[str, float]] = field(repr=False)
    ended: str | None = None

    def __str__(self) -> str:
        return self.prompt + self.text


@dataclass(frozen=True)
class TranscribedFile:
    """The transcript of a file of sound. `words` have a text, start and end in seconds, and a confidence."""

    file: Path
    text: str
    seconds: float = 0.0
    words: Sequence[Any] = field(default=(), repr=False)
    error: DataError | None = None


class LoadedRun:
    """A trained model and what its run recorded."""

    def __init__(self, path: Path, trained: Trained) -> None:
        self.path = path
        """The run directory, checkpoint or exported file."""
        self._trained = trained

    def __repr__(self) -> str:
        record = self._trained.record
        model, task = self._trained.experiment.model.name, self._trained.experiment.task.name
        return f"<LoadedRun {self.path}: {task} with {model} on {record.dataset}, checkpoint {self.checkpoint}>"

    @property
    def model(self) -> nn.Module:
        """The torch module, in evaluation mode, on its device."""
        return self._trained.model

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint that the model is from."""
        return self._trained.checkpoint.name

    @property
    def config(self) -> dict[str, Any]:
        """Every setting of the run, defaults included."""
        return dict(self._trained.record.config)

    @property
    def metric(self) -> str:
        """The metric that decides which epoch is the best."""
        return self._trained.checkpoint.goal.metric

    @property
    def history(self) -> list[dict[str, Any]]:
        """A row for each epoch of the run: epoch, step, training_loss, learning_rate, and the validation metrics."""
        last = Checkpoints(self.path / "checkpoints").last()
        return [dict(row) for row in (self._trained.record if last is None else last.record).history]

    @property
    def labels(self) -> list[str]:
        """The classes of a classifier, in the model's order; empty for other tasks."""
        return [str(label) for label in getattr(self._trained.task, "labels", ())]

    def predict(
        self,
        *inputs: Any,
        top: int | None = None,
        invert: Inversion = "auto",
        on_error: Literal["raise", "keep"] = "raise",
    ) -> list[Prediction]:
        """Labels or numbers for new inputs, in their order.

        An input is what the kind of data has: for images a file's name, an array (H, W) or (H, W, 3), or a Pillow
        image; for tables a mapping from columns to cells, a bare row in the columns' order, a DataFrame, or a file's
        name; for texts a string, a `Path` to a file, or a DataFrame; for series an array (T, columns), a DataFrame, or
        a file's name. Lists of inputs are taken apart. `top` limits the labels. An input that cannot be read raises
        DataError; with `on_error="keep"` it becomes a prediction with that `error`.
        """
        if top is not None and top < 1:
            raise UsageError(f"top: found {top}; allowed is at least 1")
        with name_faults():
            predictor = make_predictor(self.path, self._trained, invert, top)
            if isinstance(predictor.reader, ReadsValues):
                given = predictor.reader.read_values(inputs)
            else:
                given = predictor.reader.read([str(each) for each in inputs], iter(()))
            predictions = [one for batch in predictor.predict(given) for one in batch]
        if on_error == "raise":
            for one in predictions:
                if one.error is not None:
                    raise one.error
        for note in predictor.reader.notes():
            issue_warning(note)
        return predictions

    def evaluate(
        self,
        split: Literal["test", "validation"] = "test",
        *,
        worst: int | None = None,
        root: str | PathLike[str] | None = None,
        changed_data: bool = False,
        beam: int | None = None,
        lm: str | PathLike[str] | None = None,
    ) -> EvaluationResult:
        """Score the model on a split of the run's data, which is read from `root` if that is given.

        As `dltrain eval` does, it adds a line to evaluations.jsonl and draws pictures into plots/. `worst` adds the
        examples that the model is most wrong about to the details. `beam` and `lm` are the width of a beam search and a
        language model for speech. Raises UsageError where the data has changed since training, unless `changed_data`.
        """
        from dltrain.report.building import update_report
        from dltrain.runs.clip_scoring import Decoding, check_decoding
        from dltrain.runs.evaluation import EvaluationMethod, collect_results, record_evaluation, run_evaluation
        from dltrain.runs.examples import check_worst

        if split not in ("test", "validation"):
            raise UsageError(f"split: found '{split}'; allowed are test and validation")
        if worst is not None and worst < 1:
            raise UsageError(f"worst: found {worst}; allowed is at least 1")
        decoding = None if beam is None and lm is None else Decoding(beam=beam, lm=None if lm is None else str(lm))
        check_decoding(decoding)
        check_worst(self.path, self._trained, worst)
        messenger, trained = PythonMessenger(), self._trained
        if root is not None:
            data = trained.experiment.data
            data = replace(data, options={**data.options, "root": str(Path(root).absolute())})
            places = {name: place for name, place in trained.experiment.places.items() if name != "data.root"}
            trained = replace(trained, experiment=replace(trained.experiment, data=data, places=places))
        with name_faults():
            method = EvaluationMethod(decoding=decoding, changed_data=changed_data, messenger=messenger)
            evaluation = run_evaluation(self.path, trained, split, method)
            details = collect_results(evaluation, worst)
            record_evaluation(self.path, details, messenger)
            update_report(evaluation, details, messenger.warn)
        return EvaluationResult(split, details["metrics"], details)

    def generate(
        self,
        prompt: str = "",
        *,
        samples: int = 1,
        max_tokens: int = 100,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        ban: Sequence[str] | None = None,
        seed: int = 0,
    ) -> list[GeneratedText]:
        """Texts that continue `prompt`; the parameters are the options of `dltrain generate`.

        The same seed gives the same texts. Raises UsageError for a model that is no language model.
        """
        from dltrain.decoding.sampling import Sampling
        from dltrain.runs.generation import encode_prompt, find_banned_ids, make_ending, read_vocabulary, write_samples

        if min(samples, max_tokens) < 1 or seed < 0:
            raise UsageError(f"samples {samples}, max_tokens {max_tokens}, seed {seed}: allowed are 1, 1, 0 and more")
        sampling = Sampling(temperature, top_k, top_p, repetition_penalty)
        vocabulary = read_vocabulary(self.path, self._trained)
        sampling = replace(sampling, banned=find_banned_ids(vocabulary, ban))
        ids = encode_prompt(vocabulary, prompt, issue_warning)
        ending, read = make_ending(vocabulary, max_tokens, stop), vocabulary.decode(ids)
        texts = write_samples(self._trained, vocabulary, ids, sampling, ending=ending, count=samples, seed=seed)
        return [
            GeneratedText(
                read,
                str(one),
                [(vocabulary.words[token], value) for token, value in zip(one.ids, one.log_probabilities, strict=True)],
                one.ended,
            )
            for one in texts
        ]

    def transcribe(
        self,
        *files: str | PathLike[str],
        beam: int | None = None,
        lm: str | PathLike[str] | None = None,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
        same_speaker: bool = False,
        batch_size: int = 8,
        on_error: Literal["raise", "keep"] = "raise",
    ) -> list[TranscribedFile]:
        """The words spoken in files of sound; the parameters are the options of `dltrain transcribe`.

        Raises UsageError for a model that is no recogniser. A file that cannot be read raises DataError; with
        `on_error="keep"` it becomes a result with that `error`.
        """
        from dltrain.data.speech.sound import import_soundfile
        from dltrain.data.speech.transcription import Transcriber
        from dltrain.runs.clip_scoring import Decoding, check_decoding
        from dltrain.runs.recognisers import check_recogniser, check_speakers

        lm = None if lm is None else str(lm)
        decoding = Decoding(beam=beam, lm=lm, lm_weight=lm_weight, word_bonus=word_bonus)
        check_decoding(decoding)
        import_soundfile()
        trained = check_recogniser(self.path, self._trained)
        check_speakers(trained.record.assets["normalization"]["over"], same_speaker)
        task: Any = trained.task
        transcriber = Transcriber(
            task=task,
            model=trained.model,
            runtime=trained.runtime,
            assets=trained.record.assets,
            decoder=decoding.decoder(task.alphabet, issue_warning),
            batch_size=batch_size,
        )
        paths = [Path(file) for file in files]
        speaker = transcriber.measure_speaker(paths) if same_speaker else None
        separator = " " if " " in task.alphabet else ""
        found = [_describe_recording(one, separator) for one in transcriber.transcribe_files(paths, speaker=speaker)]
        for one in found:
            if one.error is not None and on_error == "raise":
                raise one.error
        return found


def _describe_recording(recording: Recording, separator: str) -> TranscribedFile:
    return TranscribedFile(
        recording.path,
        recording.text(separator),
        recording.seconds,
        words=tuple(recording.words),
        error=recording.fault,
    )


def load(
    run: str | PathLike[str] | ListedRun,
    *,
    checkpoint: str | None = None,
    device: str | None = None,
    threshold: float | None = None,
    trust_plugins: bool = False,
) -> LoadedRun:
    """Load the model of a run directory, a checkpoint, an exported .safetensors file, or one of `dltrain.runs()`.

    The config, or its name, stands for its run in `runs`.

    `checkpoint` is "best" (the default), "last" or a checkpoint's name. `device` is another one than that of training,
    `threshold` the probability from which a binary classifier says yes. Plug-ins that the run carries are executed if
    you trained with them on this machine, or with `trust_plugins`; else UsageError names them. Raises NoCheckpoint,
    naming runs nearby, where there is none that can be used.
    """
    from dltrain.runs.loading import load_trained, override_threshold

    path = run.path if isinstance(run, ListedRun) else find_run(Path(run))
    with name_faults(), borrow_torch(), trust_everything(trust_plugins):
        chosen = find_checkpoint(path, checkpoint)
        changed = {"trainer": {"device": device}} if device else {}
        trained = load_trained(chosen, {**changed, **override_threshold(path, chosen.record, threshold)})
    if trained.record.notice:
        issue_warning(trained.record.notice)
    return LoadedRun(path, trained)
