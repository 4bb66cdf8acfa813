"""The sections about the run as a whole: heading, scores, settings, data, epochs, processes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dltrain.config.document import format_value
from dltrain.observers.console import format_duration
from dltrain.observers.data_report import format_sizes, list_tables
from dltrain.report.contents import RunContents
from dltrain.report.markup import (
    NOTHING,
    Markup,
    escape,
    format_count,
    format_score,
    make_facts,
    make_fold,
    make_note,
    make_section,
    make_table,
)
from dltrain.runs.comparison import find_option, list_settings
from dltrain.runs.listing import ListedRun
from dltrain.runs.run_facts import is_special

PLAIN = ("task.name", "data.name", "model.name", "optimizer.name", "schedule.name")
"""Names that are always among the settings: they have no default."""
EPOCHS_SHOWN = 200


def title_run(run: ListedRun) -> str:
    """The run, what was trained on what, and its score: two runs have two titles."""
    score = "" if run.best is None else f", {run.metric} {format_score(run.best)}"
    return f"{run.name}: {describe_subject(run)}{score}"


def describe_subject(run: ListedRun) -> str:
    return f"{run.model} on {run.data or run.config.get('data', {}).get('name')}, seed {run.seed}"


def build_header(contents: RunContents) -> Markup:
    """Name, subject, state, the most important numbers, and remarks."""
    run = contents.run
    started = (run.started or "")[:16].replace("T", " ")
    reason = f": {run.reason}" if run.state in ("failed", "stopped") and run.reason else ""
    lines = [
        f"<h1>{escape(run.name)}<span class='state {run.state}'>{run.state}</span></h1>",
        f"<p class=sub>{escape(describe_subject(run))}" + (f" · started {started}" if started else "") + "</p>",
    ]
    if reason:
        lines.append(make_note(f"{run.state}{reason}; the same `dltrain fit` command continues the run"))
    tiles = "".join(
        f"<div class=tile><b>{escape(b)}</b><span>{escape(a)}</span></div>" for a, b in list_tiles(contents)
    )
    lines.append(f"<div class=tiles>{tiles}</div>")
    lines += map(make_note, contents.remarks)
    return Markup("\n".join(lines))


def list_tiles(contents: RunContents) -> Iterator[tuple[str, str]]:
    run = contents.run
    test = contents.best.get("test")
    if run.metric is not None:
        if run.best is not None:
            yield f"validation {run.metric}, epoch {run.best_epoch:g}", format_score(run.best)
        if test is not None:
            yield f"test {run.metric}", format_score(test["metrics"].get(run.metric))
        names = [name for name in ("accuracy", "r2", "perplexity") if name != run.metric and name in run.validation]
        for name in names[:1]:
            of, scores = ("validation", run.validation) if test is None else ("test", test["metrics"])
            yield f"{of} {name}", format_score(scores.get(name))
    planned = f" of {run.epochs_planned}" if run.epochs_planned and run.epochs_planned != run.epochs else ""
    yield "epochs", f"{run.epochs:g}{planned}"
    yield "parameters", format_count(run.parameters)
    if run.seconds is not None:
        yield "training time", format_duration(run.seconds)
    yield "device", str(run.device or NOTHING)


def build_scores(contents: RunContents) -> Markup:
    """All metrics of the best epoch: validation, test, and the baselines on both."""
    run, test = contents.run, contents.best.get("test")
    columns: dict[str, Mapping[str, Any]] = {}
    if run.validation:
        columns["validation"] = run.validation
    if test is not None:
        columns["test"] = test["metrics"]
        columns |= {f"{name}, test": scores for name, scores in test.get("baselines", {}).items()}
    else:
        columns |= {f"{name}, validation": scores for name, scores in contents.baselines.items()}
    names = dict.fromkeys(name for scores in columns.values() for name in scores)
    ordered = sorted(names, key=lambda name: name != run.metric)
    rows = [
        [
            f"{name} (decides)" if name == run.metric else name,
            *(format_score(each.get(name)) for each in columns.values()),
        ]
        for name in ordered
    ]
    parts = [make_table(["metric", *columns], rows)] if rows else []
    facts = {name.replace("_", " "): value for name, value in contents.facts.items()}
    if contents.solved:
        facts["solved at once"] = contents.solved
    parts += [make_facts(facts.items())] if facts else []
    parts += map(make_note, [] if test is None else test.get("remarks", []))
    if rows and test is None:
        parts.append(Markup(f"<p class=small>Not tested yet: <code>dltrain eval {escape(run.path)}</code></p>"))
    if contents.evaluations:
        parts.append(make_fold(f"All evaluations ({len(contents.evaluations)})", list_evaluations(contents)))
    return make_section("scores", "Scores", *parts)


def list_evaluations(contents: RunContents) -> Markup:
    """Each evaluation that was made: when, on what, with what, and its score."""
    metric = contents.run.metric
    rows = []
    for one in contents.evaluations[::-1]:
        special = [
            name.replace("_", " ")
            for name in ("adaptation", "decoder", "threshold", "views", "changed_data")
            if name in one
        ]
        how = ", ".join(special) if is_special(one) else ""
        score = format_score(one.get("metrics", {}).get(metric))
        rows.append(
            [str(one.get("time", ""))[:16].replace("T", " "), one.get("split"), one.get("checkpoint"), how, score]
        )
    return make_table(["time", "split", "checkpoint", "with", str(metric)], rows, left=(0, 1, 2, 3))


def build_settings(run: ListedRun) -> Markup:
    """The settings that differ from the defaults, with these, and all settings behind a click."""
    settings = list_settings(run)
    rows = [[path, shorten(value), shown] for path, value, shown in list_changed(run, settings)]
    everything = make_table(
        ["setting", "value"], [[path, shorten(value)] for path, value in settings.items()], left=(0, 1)
    )
    return make_section(
        "settings",
        "Settings",
        make_table(["setting that differs from the default", "value", "default"], rows, left=(0, 1, 2)),
        make_fold(f"All {len(settings)} settings", everything),
    )


def list_changed(run: ListedRun, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Path, value and default of each setting that has another value than its default, or none."""
    from dltrain.config.annotations import REQUIRED
    from dltrain.config.sections import SEED

    for path, value in settings.items():
        option = SEED if path == "seed" else find_option(run, path)
        if path in PLAIN or option is None:
            yield path, value, ""
        elif option.default is REQUIRED:
            yield path, value, "required"
        elif json.dumps(option.default, default=str) != json.dumps(value, default=str):
            yield path, value, shorten(option.default)


def shorten(value: Any, longest: int = 200) -> str:
    text = (
        format_value(value) if isinstance(value, (str, int, float, bool, list, tuple, dict, type(None))) else str(value)
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"


def build_data(data: Mapping[str, Any] | None) -> Markup:
    """What was read: sizes, classes, columns, treatments, files."""
    if data is None:
        return Markup("")
    parts: list[str] = [f"<p>{escape(format_sizes(data).removeprefix('data: '))}</p>"]
    parts += map(make_note, data["risks"])
    for title, head, rows in list_tables(data):
        table = make_table(head, rows, left=() if title == "classes" else (0, 2, 3) if title == "splits" else range(9))
        long = len(rows) > 12 or title == "files"
        parts.append(make_fold(f"{title} ({len(rows)})", table) if long else f"<h3>{title}</h3>{table}")
    return make_section("data", "Data", *parts)


def build_epochs(contents: RunContents) -> Markup:
    """Every epoch as a row, the best one marked."""
    history = contents.run.history
    if not history:
        return Markup("")
    shown: Sequence[Mapping[str, Any]] = history[-EPOCHS_SHOWN:]
    names = list(dict.fromkeys(name for entry in shown for name in entry))
    whole = {"epoch", "step"}
    rows = []
    for entry in shown:
        cells = [f"{entry[name]:g}" if name in whole else format_exact(entry.get(name)) for name in names]
        rows.append("".join(f"<td class=n>{cell}</td>" for cell in cells))
    marked = [
        f"<tr{' class=best' if entry['epoch'] == contents.run.best_epoch else ''}>{row}</tr>"
        for entry, row in zip(shown, rows, strict=True)
    ]
    head = "".join(f"<th class=n>{escape(name.replace('_', ' '))}</th>" for name in names)
    table = f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(marked)}</tbody></table></div>"
    left_out = f", the last {EPOCHS_SHOWN}" if len(history) > EPOCHS_SHOWN else ""
    return make_section("epochs", "Epochs", make_fold(f"{len(history)} evaluations{left_out}, the best in bold", table))


def format_exact(value: Any) -> str:
    return NOTHING if value is None else f"{value:.6g}"


def build_processes(contents: RunContents) -> Markup:
    """Where, when and with what the run was trained, process by process."""
    run, parts = contents.run, []
    for one in contents.processes:
        ended = one.get("ended") or {}
        versions = one.get("versions", {})
        shown = {name: versions[name] for name in ("dltrain", "python", "torch") if name in versions}
        signature = one.get("signature", {})
        git = one.get("git")
        facts = {
            "started": str(one.get("time", "")).replace("T", " "),
            "ended": str(ended.get("time", NOTHING)).replace("T", " "),
            "command": Markup(f"<code>{escape(one.get('command', ''))}</code>"),
            "device": ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in signature.items()),
            "machine": f"{one.get('host', NOTHING)}, {one.get('platform', NOTHING)}",
            "versions": ", ".join(f"{name} {value}" for name, value in shown.items()),
            "git commit": format_value(git) if git else NOTHING,
        }
        if ended.get("message"):
            facts["stopped by"] = ended["message"]
        parts.append(make_facts(facts.items()))
    inner = (
        "<hr>".join(parts)
        if len(parts) <= 1
        else parts[-1] + make_fold(f"{len(parts) - 1} earlier processes", "<hr>".join(parts[:-1]))
    )
    return make_section("process", "Process", make_facts([("run directory", run.path.resolve())]), inner)
