"""Draft a config for speech: a Common Voice release, or sound files with a table of their transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dltrain.data.speech.common_voice import TABLES, find_locale
from dltrain.data.speech.manifests import CLIPS, Clip, read_common_voice, read_manifest
from dltrain.errors import DataError, UsageError
from dltrain.starting.draft import Draft, choose_epochs, count, make_name
from dltrain.starting.texts import SPLITS

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".webm", ".mkv", ".3gp", ".aac", ".opus")
MANIFESTS = (".tsv", ".csv", ".jsonl")
FEW = 2000
"""Clips up to which the network is small."""


def find_release(path: Path) -> tuple[Path, str] | None:
    """The root and the locale of a Common Voice release in a folder; None if there is none."""
    if any((path / table).exists() for table in TABLES) and (path / CLIPS).is_dir():
        return path.parent, path.name
    for parent in (path, path / "common_voice"):
        if not parent.is_dir():
            continue
        folders = sorted(each for each in parent.iterdir() if (each / CLIPS).is_dir())
        locales = [each for each in folders if any((each / table).exists() for table in TABLES)]
        if len(locales) > 1:
            names = ", ".join(each.name for each in locales)
            raise UsageError(f"{path}: several languages: {names}", advice=f"name one: dltrain init {locales[0]}")
        if locales:
            return parent, locales[0].name
    return None


def draft_common_voice(path: Path, root: Path, locale: str) -> Draft:
    """Draft a config for one language of a release."""
    folder = find_locale(root, locale)
    own = all((folder / f"{table}.tsv").exists() for table in ("train", "dev", "test"))
    clips = read_common_voice(folder, "train" if own else "validated")
    data: dict[str, Any] = {"name": "common_voice", "root": root, "locale": locale}
    if not own:
        data["splits"] = "validated"
    return _compose(path, data, clips, facts=[f"{path.name}: Common Voice, language {locale}"])


def draft_recordings(path: Path, sounds: Sequence[Path]) -> Draft:
    """Draft a config for sound files with manifests. Raises DataError if there is none with the needed columns."""
    tables = sorted(each for each in path.rglob("*") if each.suffix in MANIFESTS and each.is_file())
    read: dict[Path, list[Clip]] = {}
    reasons = []
    for table in tables:
        try:
            clips = read_manifest(table)
        except DataError as error:
            reasons.append(error.message)
            continue
        if any(clip.path.is_file() for clip in clips[:50]):
            read[table] = clips
        else:
            reasons.append(f"{table}: its first path, {clips[0].name}, is no file beside it")
    if not read:
        listed = "".join(f"\n  {reason}" for reason in reasons[:5])
        raise DataError(
            f"{path}: {count(len(sounds), 'sound file')}, and no table of their transcripts{listed}",
            advice="add a .csv, .tsv or .jsonl file with the columns path (relative to it), text and perhaps speaker",
        )
    splits = _match_manifests(list(read))
    folder = path
    data: dict[str, Any] = {"name": "audio", "root": folder, "train": str(splits["training"].relative_to(folder))}
    data["validation"] = str(splits["validation"].relative_to(folder)) if "validation" in splits else 0.1
    if "test" in splits:
        data["test"] = str(splits["test"].relative_to(folder))
    facts = [f"{path.name}: {count(len(sounds), 'sound file')}, {splits['training'].name}"]
    return _compose(path, data, read[splits["training"]], facts=facts)


def _match_manifests(tables: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for split, pattern in SPLITS.items():
        matching = [table for table in tables if pattern.fullmatch(table.stem)]
        if matching:
            found[split] = matching[0]
    if "training" not in found:
        others = [table for table in tables if table not in found.values()]
        found["training"] = (others or tables)[0]
        found = {split: table for split, table in found.items() if split == "training" or table != found["training"]}
    return found


def _compose(path: Path, data: Mapping[str, Any], clips: Sequence[Clip], *, facts: Sequence[str]) -> Draft:
    letters = [len(clip.text) for clip in clips] or [1]
    short = sorted(letters)[int(0.95 * (len(letters) - 1))] <= 12
    speakers = {clip.speaker for clip in clips} - {""}
    lengths = [clip.seconds for clip in clips if clip.seconds is not None]
    longest = max(lengths) if lengths else 10.0
    few = len(clips) < FEW
    batch = 8 if len(clips) < 200 else 32 if short else 16
    epochs = choose_epochs(len(clips) // batch, 4000, least=20, most=80)
    missing = sum(not clip.path.is_file() for clip in clips)
    seconds = f", {sum(lengths) / 60:.0f} minutes" if lengths else ""
    known = f", {count(len(speakers), 'speaker')}" if speakers else ""
    return Draft(
        kind="audio",
        name=make_name(path),
        title="transcribe speech, letter by letter",
        settings={
            "task": {"name": "speech_recognition"},
            "seed": 0,
            "data": {
                **data,
                "max_seconds": float(min(30, max(10, round(longest + 0.5)))),
                **({"subsampling": 2} if short else {}),
                **({"normalize": "speaker"} if speakers else {}),
                "batch_size": batch,
                "augment": {"time_masks": 2, "frequency_masks": 2, "tempo": [0.9, 1.0, 1.1], "warp": [0.9, 1.1]},
            },
            "model": {"name": "crnn", "channels": [32, 32], "hidden": 96 if few else 224, "layers": 2, "dropout": 0.2},
            "optimizer": {"name": "adamw", "learning_rate": 0.003 if few else 0.002},
            "schedule": {"name": "one_cycle"},
            "trainer": {"epochs": epochs, "clip_norm": 5.0, "device": "auto"},
        },
        comments={
            "data.max_seconds": "longer clips are left out",
            "data.subsampling": "the texts are short: the model keeps twice as many frames",
            "data.validation": "a share of the clips, whole speakers at a time"
            if data.get("validation") == 0.1
            else "",
        },
        facts=[*facts, f"{count(len(clips), 'clip')} to train on{known}{seconds}"],
        doubts=[f"{missing} of {len(clips)} sound files are missing"] if missing else [],
    )
