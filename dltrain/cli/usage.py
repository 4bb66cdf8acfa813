"""Mistakes on the command line: what other tools call a command or a flag, and what it is called here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from dltrain.cli.shared.settings import SHORTHANDS
from dltrain.errors import UsageError

SYNONYMS: Mapping[str, Sequence[str]] = {
    "train": ["fit"],
    "evaluate": ["eval"],
    "test": ["eval"],
    "infer": ["predict"],
    "tune": ["sweep"],
    "lr-find": ["find-lr"],
    "lr_find": ["find-lr"],
    "find_lr": ["find-lr"],
    "ls": ["runs"],
    "version": ["--version"],
}
"""Other names of commands; `help` is one of --help."""

EXPLAINED = {
    "validate": "`dltrain eval RUN --split validation` evaluates on the validation split, "
    "`dltrain config check CONFIG` checks a config",
    "resume": "repeat the `dltrain fit` command: it resumes an unfinished run",
    "check": "`dltrain config check CONFIG` checks a config, `dltrain data check NAME` the files of a data set",
    "show": "`dltrain config show CONFIG` prints a config, `dltrain data show CONFIG` its data",
    "download": "`dltrain data fetch NAME` downloads a data set",
    "models": "`dltrain list models`",
    "datasets": "`dltrain list datasets`",
    "configs": "`dltrain init --list` lists the configs that come with dltrain",
    "inference": "`dltrain predict RUN INPUTS`",
    "plot": "`dltrain compare RUN... -o curves.png` draws curves; each run has them in plots/training.png",
    "hpo": "`dltrain sweep CONFIG` searches for better options",
    "kfold": "`dltrain cv CONFIG --folds 5` cross-validates",
}

WORDS = {
    "give the config without a flag: dltrain {command} CONFIG": "--config -c --cfg --yaml --config-file --file -f",
    "repeat the same command: it resumes an unfinished run; --fresh starts a new one": "--resume --continue "
    "--resume-from --resume-from-checkpoint --ckpt-path --overwrite --force",
    "write --device cuda, or --device auto; `dltrain devices` lists them": "--gpus --gpu --cuda --ngpu --ngpus "
    "--accelerator --devices --use-gpu --gpu-id -g",
    "write --device cpu": "--cpu --no-cuda --no-gpu",
    "write --set data.workers=N": "--workers --num-workers --n-workers --dataloader-num-workers -j",
    "write --epochs N": "--max-epochs --num-epochs --n-epochs --epoch --num-train-epochs -e -n",
    "write --batch-size N": "--bs --batch --batchsize --train-batch-size -b",
    "write --lr RATE": "--learningrate --rate --base-lr",
    "write -o DIR": "--out --outdir --output-dir --out-dir --save-dir --logdir --log-dir "
    "--name --run-name --run-dir --save",
    "write --set data.root=DIR": "--data --data-dir --data-root --dataset-dir --root --datadir",
    "write --set trainer.precision=bf16": "--amp --fp16 --bf16 --half --mixed-precision",
    "write --set trainer.clip_norm=NUMBER": "--clip --grad-clip --max-grad-norm --gradient-clip-val",
    "write --set optimizer.weight_decay=NUMBER": "--wd",
    "write --set trainer.patience=N": "--early-stopping",
    "`dltrain config check CONFIG` checks a config without starting anything": "--dry-run --check",
}
AVERAGING = {
    **dict.fromkeys(("--tta", "--test-time-augmentation", "--augment", "--flips"), "write --views N"),
    **dict.fromkeys(
        ("--ensemble", "--average", "--members"),
        "leave it out: the members of the directory of `fit --seeds` or `cv` are averaged",
    ),
}
"""The same for commands that average."""
VERBOSE = ("-v", "-V", "-vv", "--verbose")
QUIET = "leave it out: progress is printed; -q prints less, --debug the traceback of an error"
ELSEWHERE = "`dltrain fit` sets what training does; {name} --help shows the options of this command"
FOREIGN = {flag: advice for advice, flags in WORDS.items() for flag in flags.split()}
"""What to write instead of other tools' flags, for commands that train."""


def expand_synonym(words: Sequence[str]) -> list[str]:
    """The command line in this tool's words: `train x.yaml` becomes `fit x.yaml`, and `help fit` `fit --help`."""
    if words and words[0] == "help":
        return [*words[1:], "--help"]
    return [*SYNONYMS.get(words[0], words[:1]), *words[1:]] if words else []


def refuse_command(word: str, commands: Sequence[str]) -> UsageError:
    """The error for a command that does not exist."""
    from dltrain.config.faults import find_nearest

    message = f"'{word}' is not a command\nallowed: {', '.join(commands)}"
    if word in EXPLAINED:
        return UsageError(message, advice=EXPLAINED[word])
    if Path(word).suffix in (".yaml", ".yml") or Path(word).is_dir():
        is_config = Path(word).suffix != "" or not (Path(word) / "checkpoints").is_dir()
        return UsageError(message, advice=f"dltrain {'fit' if is_config else 'eval'} {word}")
    near = find_nearest(word, [*commands, *SYNONYMS])
    hint = "" if near is None else f"\ndid you mean '{SYNONYMS.get(near, [near])[0]}'?"
    return UsageError(message + hint, advice=None if near else "dltrain --help describes them")


def explain_usage(error: Any, words: Sequence[str]) -> UsageError:
    """The error of this tool for one of Typer's parser of `words`, known by its attributes: Typer has its own click."""
    context, message = error.ctx, _lower(error.format_message())
    name = " ".join(["dltrain", *words[:1]]) if context is None else context.command_path
    advice = f"{name} --help shows all options"
    if context is not None and hasattr(error, "possibilities") and hasattr(error, "option_name"):
        return _explain_option(error.option_name, context)
    parameter = getattr(error, "param", None)
    if type(error).__name__ == "MissingParameter" and parameter is not None:
        return UsageError(f"{name}: {parameter.name} is missing", advice=_advise_missing(parameter.name, name))
    if "unexpected extra argument" in message:
        advice = f"quote an argument that has spaces; {name} --help shows what is allowed"
    return UsageError(f"{name}: {message.replace('Value error, ', '')}", advice=advice)


def _lower(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")


def _explain_option(flag: str, context: Any) -> UsageError:
    """The nearest flag, what to write instead of another tool's, or the option of the config of this name."""
    from dltrain.config.faults import find_nearest

    name = context.command_path
    flags = [each for one in context.command.params for each in one.opts if each.startswith("-")]
    message = f"{name}: there is no option {flag}"
    trains = "--set" in flags
    near = find_nearest(flag, [each for each in flags if each.startswith("--")]) if len(flag) > 2 else None
    word = flag.replace("_", "-")
    if word in VERBOSE:
        return UsageError(message, advice="dltrain --version" if name == "dltrain" else QUIET)
    if word in AVERAGING and "--views" in flags:
        return UsageError(message, advice=AVERAGING[word])
    if word in FOREIGN:
        advice = FOREIGN[word].format(command=context.info_name) if trains else ELSEWHERE.format(name=name)
        return UsageError(message, advice=_write_as_setting(advice, flags))
    if near is not None:
        return UsageError(f"{message}\ndid you mean '{near}'?")
    if trains and (path := find_path(flag)):
        return UsageError(message, advice=f"--set {path}=VALUE, or the word {path}=VALUE after the config")
    if any(word in each.flags for each in SHORTHANDS.values()):
        return UsageError(message, advice=ELSEWHERE.format(name=name))
    return UsageError(message, advice=f"{name} --help shows all options")


def _write_as_setting(advice: str, flags: Sequence[str]) -> str:
    """Advice to write a flag that is a shorthand, for a command that has not this one, as the setting that it means."""
    for short in SHORTHANDS.values():
        for flag in short.flags:
            if advice.startswith(f"write {flag} ") and flag not in flags:
                return f"write --set {short.path}=" + advice.removeprefix(f"write {flag} ")
    return advice


def find_path(flag: str) -> str | None:
    """The path in a config of the option that a flag is called like, or nearly; None if there is none."""
    from dltrain.config.faults import find_nearest

    paths = list_paths()
    word = flag.lstrip("-").replace("-", "_")
    return paths.get(word) or paths.get(find_nearest(word, paths) or "")


def list_paths() -> dict[str, str]:
    """A path for the name of each section and of each option, the trainer's first."""
    from dltrain.config.catalogue import STORED
    from dltrain.config.sections import GROUPS, SETTINGS

    paths = {each.name: each.name for each in SETTINGS}
    groups = {name: [option.name for option in fields(group)] for name, group in GROUPS.items()}
    names = ["trainer", "optimizer", "data", "model", "task", "schedule", "weights"]
    kinds = {section.kind: section.name for section in SETTINGS if section.kind and not section.several}
    for entry in json.loads(STORED.read_text(encoding="utf-8")):
        if entry["kind"] in kinds:
            groups.setdefault(kinds[entry["kind"]], []).extend(option["name"] for option in entry["options"])
    for section in names:
        for option in groups.get(section, []):
            paths.setdefault(option, f"{section}.{option}")
    return paths


def _advise_missing(parameter: str, command: str) -> str:
    """What to name, with what is at hand."""
    from dltrain.cli.completion.candidates import list_configs_here, list_runs_here

    if parameter == "config":
        here = list_configs_here()
        some = f"{', '.join(here[:5])}; or " if here else ""
        return f"{command} {here[0] if here else 'mnist_cnn'} (configs: {some}those that `dltrain init --list` shows)"
    if parameter == "run":
        here = list_runs_here()
        return f"{command} {here[0]} (runs: {', '.join(here[:5])})" if here else "train one with `dltrain fit CONFIG`"
    if parameter in ("kind", "name"):
        return "`dltrain list` shows all kinds and names"
    return f"{command} --help shows examples"
