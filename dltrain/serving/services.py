"""What a trained model answers: predictions, texts that continue a prompt, or transcripts."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from anyio import to_thread

from dltrain.api.loaded_run import LoadedRun
from dltrain.errors import DataError, DltrainError, UsageError
from dltrain.kinds import NamedInput, ReadsValues, RequestForm, resolve_reference
from dltrain.runs.prediction import BATCH, Prediction, make_predictor
from dltrain.serving.batching import Batcher
from dltrain.serving.uploads import Received, StoredFiles

if TYPE_CHECKING:
    from dltrain.runs.loading import Trained


class Answer(NamedTuple):
    """A response: its status, 200 or 422, and its JSON."""

    status: int
    body: dict[str, Any]


class Service(Protocol):
    """One thing that a model does."""

    batcher: Batcher

    @property
    def path(self) -> str:
        """The path of its URL."""

    @property
    def keys(self) -> Collection[str]:
        """The keys of a request."""

    @property
    def files(self) -> bool:
        """Whether it takes files."""

    def describe(self) -> dict[str, Any]:
        """What to send, what comes back, and an example."""

    async def answer(self, received: Received) -> Answer:
        """Answer one request. Raises UsageError for a wrong value, DataError where nothing can be read."""


def describe_error(error: DltrainError) -> dict[str, Any]:
    return {"message": error.message, "advice": error.advice}


def make_service(run: Path, trained: Trained, *, wait: float = 0.002) -> Service:
    """The service of a model. Raises UsageError where its task gives nothing for new inputs."""
    from dltrain.capabilities import Generates
    from dltrain.data.speech.recognition import Transcribes

    if isinstance(trained.task, Generates):
        return GenerationService(LoadedRun(run, trained))
    if isinstance(trained.task, Transcribes):
        return TranscriptionService(LoadedRun(run, trained))
    return PredictionService(run, trained, wait=wait)


class PredictionService:
    """Labels or numbers, as `dltrain predict` gives them, computed for several requests at once."""

    path = "/predict"
    files = True

    def __init__(self, run: Path, trained: Trained, *, wait: float) -> None:
        self._trained = trained
        self._predictor = make_predictor(run, trained)
        kind = self._predictor.kind
        requests = None if kind.requests is None else resolve_reference(kind.requests)
        self._form: RequestForm | None = None if requests is None else requests(trained.record.assets)
        self.keys: Collection[str] = ("inputs", "top") if self._predictor.labels else ("inputs",)
        self.batcher = Batcher(self._compute, wait=wait, size=BATCH)

    def _compute(self, given: list[NamedInput]) -> list[Prediction]:
        return [one for batch in self._predictor.predict(given) for one in batch]

    def describe(self) -> dict[str, Any]:
        task: Any = self._trained.task
        named = {"labels": list(task.labels)} if self._predictor.labels else {"outputs": list(task.outputs)}
        facts: dict[str, Any] = {**named, "send": {"files": "multipart/form-data with one or more files"}}
        if self._form is not None:
            if self._form.suffixes:
                facts["send"]["files"] += f" that end with {', '.join(self._form.suffixes)}"
            facts["send"]["inputs"] = f"application/json; each input is {self._form.text}"
            facts["example"] = {"inputs": [self._form.example]}
        if self._predictor.labels:
            facts["send"]["top"] = "the number of labels for each input; 1 by default"
        return facts

    async def answer(self, received: Received) -> Answer:
        top = read_number(received.fields, "top", 1)
        with closing(StoredFiles()) as stored:
            given, notes = await to_thread.run_sync(self._read, received, stored)
        readable = [one for one in given if not isinstance(one.value, DataError)]
        predicted = iter(await asyncio.wrap_future(self.batcher.submit(readable)) if readable else ())
        predictions, faults = [], []
        for one in given:
            if isinstance(one.value, DataError):
                faults.append(one.value)
                predictions.append({self._predictor.kind.key: one.name, "error": describe_error(one.value)})
            else:
                prediction = next(predicted)
                ranked = dict(list(prediction.probabilities.items())[:top])
                predictions.append(self._predictor.describe(replace(prediction, probabilities=ranked)))
        body: dict[str, Any] = {"predictions": predictions, "notes": notes}
        if not faults:
            return Answer(200, body)
        others = f" (and {len(faults) - 1} other inputs)" if len(faults) > 1 else ""
        return Answer(422, {**describe_error(faults[0]), "message": faults[0].message + others, **body})

    def _read(self, received: Received, stored: StoredFiles) -> tuple[list[NamedInput], list[str]]:
        """The inputs of a request, and notes on them; a reader of its own, since it counts what it notes."""
        assert self._predictor.kind.reader is not None
        reader = resolve_reference(self._predictor.kind.reader)(self._trained.record.assets)
        given: list[NamedInput] = []
        values = [self._convert(f"input {number}", one) for number, one in enumerate(self._list_inputs(received))]
        if values and isinstance(values[0], bytes):
            for number, content in enumerate(values):
                stored.add_bytes(content, f"input {number}")
            given += reader.read([str(path) for path in stored.paths], iter(()))
        elif values:
            assert isinstance(reader, ReadsValues)
            given += reader.read_values(values)
        before = len(stored.paths)
        for upload in received.files:
            stored.add_upload(upload, self._form.suffixes if self._form is not None else ())
        given += reader.read([str(path) for path in stored.paths[before:]], iter(()))
        if not given:
            raise UsageError(f"the request has no {self._predictor.kind.plural}", advice="GET / shows an example")
        return [_restore_names(one, stored) for one in given], [stored.restore_names(one) for one in reader.notes()]

    def _list_inputs(self, received: Received) -> list[Any]:
        inputs = received.fields.get("inputs", [])
        if not isinstance(inputs, list):
            raise UsageError(f"inputs: found {type(inputs).__name__}; allowed is a list", advice="GET / shows how")
        if inputs and self._form is None:
            raise UsageError(f"{self._predictor.kind.plural} cannot be sent as JSON", advice="send files")
        return inputs

    def _convert(self, name: str, value: Any) -> Any:
        assert self._form is not None
        try:
            return self._form.convert(value)
        except DataError as error:
            raise DataError(f"{name}: {error.message}", advice=error.advice) from None


def _restore_names(one: NamedInput, stored: StoredFiles) -> NamedInput:
    value = one.value
    if isinstance(value, DataError):
        value = DataError(stored.restore_names(value.message), advice=value.advice)
    return one._replace(name=stored.restore_names(one.name), value=value)


def read_number(
    fields: Mapping[str, Any], name: str, default: Any, *, least: float = 1, most: float = 1e9, whole: bool = True
) -> Any:
    """A number of a request. Raises UsageError for anything else, and for one out of bounds."""
    value = fields.get(name, default)
    if value is default:
        return value
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        what = "a whole number" if whole else "a number"
        raise UsageError(f"{name}: found {value!r}; allowed is {what} from {least:g} to {most:g}")
    return value


class GenerationService:
    """Texts that continue a prompt, as `dltrain generate` writes them, one request after the other."""

    path = "/generate"
    files = False
    keys = (
        *("prompt", "samples", "max_tokens", "temperature", "top_k", "top_p", "repetition_penalty"),
        *("stop", "ban", "seed"),
    )

    def __init__(self, run: LoadedRun) -> None:
        self._run = run
        self.batcher = Batcher(list)

    def describe(self) -> dict[str, Any]:
        send: dict[str, Any] = {
            "prompt": "a text to continue",
            "samples": "the number of texts, at most 64",
            "seed": "a whole number",
        }
        others = "max_tokens (at most 2000), temperature, top_k, top_p, repetition_penalty, stop and ban (lists)"
        example: dict[str, Any] = {"prompt": "the", "max_tokens": 20, "temperature": 0.8, "seed": 0}
        return {"send": {**send, "others": f"as the options of dltrain generate: {others}"}, "example": example}

    async def answer(self, received: Received) -> Answer:
        fields = received.fields
        prompt = fields.get("prompt", "")
        if not isinstance(prompt, str):
            raise UsageError(f"prompt: found {type(prompt).__name__}; allowed is a text")
        options: dict[str, Any] = {
            "samples": read_number(fields, "samples", 1, most=64),
            "max_tokens": read_number(fields, "max_tokens", 100, most=2000),
            "temperature": read_number(fields, "temperature", 1.0, least=0, most=100, whole=False),
            "top_k": read_number(fields, "top_k", None),
            "top_p": read_number(fields, "top_p", 1.0, least=0, most=1, whole=False),
            "repetition_penalty": read_number(fields, "repetition_penalty", 1.0, least=0, most=100, whole=False),
            "seed": read_number(fields, "seed", 0, least=0, most=(1 << 63) - 1),
            "stop": _read_texts(fields, "stop") or [],
            "ban": _read_texts(fields, "ban"),
        }

        def generate() -> Answer:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                texts = self._run.generate(prompt, **options)
            found = [{"prompt": text.prompt, "text": text.text, "ended": text.ended} for text in texts]
            return Answer(200, {"texts": found, "notes": [str(one.message) for one in caught]})

        answer: Answer = await asyncio.wrap_future(self.batcher.run(generate))
        return answer


def _read_texts(fields: Mapping[str, Any], name: str) -> Sequence[str] | None:
    value = fields.get(name)
    if value is not None and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        raise UsageError(f"{name}: found {value!r}; allowed is a list of texts")
    return value


class TranscriptionService:
    """The words in files of sound, as `dltrain transcribe` writes them, one request after the other."""

    path = "/transcribe"
    files = True
    keys = ("beam",)

    def __init__(self, run: LoadedRun) -> None:
        self._run = run
        self.batcher = Batcher(list)

    def describe(self) -> dict[str, Any]:
        return {"send": {"files": "multipart/form-data with one or more files of sound", "beam": "width of the search"}}

    async def answer(self, received: Received) -> Answer:
        beam = read_number(received.fields, "beam", None, most=1000)
        if not received.files:
            raise UsageError("the request has no files", advice="send files of sound as multipart/form-data")
        with closing(StoredFiles()) as stored:
            for upload in received.files:
                stored.add_upload(upload, ())
            call = self.batcher.run(lambda: self._run.transcribe(*stored.paths, beam=beam, on_error="keep"))
            found = await asyncio.wrap_future(call)
        transcripts: list[dict[str, Any]] = []
        faults: list[DataError] = []
        for one in found:
            name = stored.restore_names(str(one.file))
            if one.error is not None:
                faults.append(DataError(stored.restore_names(one.error.message), advice=one.error.advice))
                transcripts.append({"file": name, "error": describe_error(faults[-1])})
                continue
            words: list[dict[str, Any]] = [
                {"word": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}
                for word in one.words
            ]
            transcripts.append({"file": name, "seconds": one.seconds, "text": one.text, "words": words})
        body: dict[str, Any] = {"transcripts": transcripts}
        return Answer(422, {**describe_error(faults[0]), **body}) if faults else Answer(200, body)
