"""Completion: what is offered, and that bash, zsh and fish offer it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

from dltrain.cli.completion.scripts import SCRIPTS, detect_shell, install_script
from dltrain.cli.completion.server import FILES, complete, list_candidates, split_line
from dltrain.cli.main import application
from dltrain.cli.shell_completion import print_script
from dltrain.config.catalogue import load_package_catalogue
from dltrain.config.option_paths import OPTION_PATHS, encode_option_paths
from dltrain.config.shipped import list_shipped_names
from dltrain.errors import UsageError

OUTDATED = "run `make docs`: .venv/bin/python -m dltrain.config.generate"
FORMATS = ("fp32", "bf16", "fp16")
MLP = ("hidden", "batch_norm", "dropout", "activation")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second", "many/seed-0", "many/seed-1"):
        Path("runs", name, "checkpoints").mkdir(parents=True)
    Path("mine.yaml").write_text("extends: mnist_cnn.yaml\nmodel:\n  # a comment\n  name: lenet\n")
    Path("other.yml").touch()
    Path("notes.txt").touch()
    return tmp_path


def offered(line: str) -> list[str]:
    return [value for value, _ in list_candidates(split_line(line)[1:])]


def test_the_options_that_are_stored_are_up_to_date() -> None:
    assert OPTION_PATHS.read_text(encoding="utf-8") == encode_option_paths(load_package_catalogue()), OUTDATED


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dltrain f", ["fit", "find-lr"]),
        ("dltrain config ", ["check", "show", "schema"]),
        ("dltrain help ev", ["eval"]),
        ("dltrain fit mnist_cn", ["mnist_cnn"]),
        ("dltrain train mnist_cn", ["mnist_cnn"]),
        ("dltrain fit m", ["mine.yaml", *(name for name in list_shipped_names() if name.startswith("m"))]),
        ("dltrain config check ./", ["./mine.yaml", "./other.yml", "./runs/"]),
        ("dltrain fit mine.yaml --fr", ["--fresh"]),
        ("dltrain fit --lr", ["--lr"]),
        ("dltrain eval x --split ", ["test", "validation"]),
        ("dltrain eval x --split=te", ["--split=test"]),
        ("dltrain fit x --device c", ["cpu", "cuda"]),
        ("dltrain fit x -o ", [FILES]),
        ("dltrain fit x --epochs ", []),
        ("dltrain predict runs/first ", [FILES]),
        ("dltrain eval runs/", ["runs/first", "runs/many/seed-0", "runs/many/seed-1", "runs/second", "runs/many/"]),
        ("dltrain eval fi", ["first"]),
        ("dltrain compare runs/first runs/sec", ["runs/second"]),
        ("dltrain list mo", ["models"]),
        ("dltrain describe mo", ["model"]),
        ("dltrain describe model len", ["lenet"]),
        ("dltrain describe len", ["lenet"]),
        ("dltrain fit mnist_cnn tr", ["trainer."]),
        ("dltrain fit mnist_cnn trainer.ep", ["trainer.epochs="]),
        ("dltrain fit mnist_cnn --set trainer.prec", ["trainer.precision="]),
        ("dltrain fit mnist_cnn --set=trainer.prec", ["--set=trainer.precision="]),
        ("dltrain fit mnist_cnn --set trainer.precision=", [f"trainer.precision={x}" for x in FORMATS]),
        ("dltrain fit mnist_cnn trainer.compile=t", ["trainer.compile=true"]),
        ("dltrain fit mnist_cnn optimizer=ada", [f"optimizer={name}" for name in ("adagrad", "adam", "adamw")]),
        ("dltrain fit mnist_cnn optimizer.name=sg", ["optimizer.name=sgd"]),
        ("dltrain fit mnist_cnn data.augment.rot", ["data.augment.rotation_degrees="]),
        ("dltrain fit mnist_mlp model.", [f"model.{name}=" for name in MLP]),
        ("dltrain fit mine.yaml model.pa", ["model.padding="]),
        ("dltrain fit mnist_cnn model=torchvision model.architecture=resnet18", ["model.architecture=resnet18"]),
        ("dltrain recipe mnist_b", ["mnist_best"]),
        ("dltrain sweep mnist_sweep search.tri", ["search.trials="]),
        ("dltrain xyzzy ", []),
        ("dltrain devices ", []),
        ("dltrain list models ", []),
    ],
)  # fmt: skip
def test_candidates(line: str, expected: list[str]) -> None:
    found = [value for value in offered(line) if value != "data/"]
    assert sorted(found) == sorted(expected)


def test_every_command_and_option_is_offered() -> None:
    app = get_command(application())
    assert offered("dltrain ") == list(getattr(app, "commands", {}))
    for name, command in getattr(app, "commands", {}).items():
        flags = {flag for each in command.params for flag in each.opts if flag.startswith("-") and not each.hidden}
        assert flags <= set(offered(f"dltrain {name} -")), name


@pytest.mark.parametrize(
    "line", ["dltrain", "", "dltrain fit 'a b", "dltrain fit \\", "dltrain --debug fit ~/", "x\ty"]
)
def test_no_line_is_an_error(line: str) -> None:
    for shell in SCRIPTS:
        complete(shell, [line])
    assert complete("complete_bash", []) == ""  # of a script that an earlier version installed


def test_bash_gets_what_follows_the_last_break_of_a_word() -> None:
    assert complete("bash", ["dltrain fit mnist_cnn trainer.precision=b"]) == "bf16\n"
    assert complete("bash", ["dltrain fit mnist_cnn trainer.device=cuda:1"]).split() == ["1", *map(str, range(10, 16))]
    assert complete("bash", ["dltrain fit mnist_cnn --set 'optimizer=sg"]) == "sgd\n"
    assert complete("zsh", ["fit", "mnist_cnn", "optimizer=sg"]).startswith("optimizer=sgd\t")


def test_neither_torch_nor_typer_is_imported() -> None:
    program = (
        "import sys; from dltrain.__main__ import main; main()\n"
        "found = {'torch', 'typer', 'click', 'rich', 'pydantic', 'yaml', 'numpy', 'pathlib', 'dltrain.cli.main'}\n"
        "sys.exit(', '.join(found & sys.modules.keys()) or 0)"
    )
    environment = {**os.environ, "_DLTRAIN_COMPLETE": "bash"}
    for line in ("dltrain fit mnist_cnn model.", "dltrain eval ", "dltrain describe model c"):
        words = [sys.executable, "-S", "-c", program, line]
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `dltrain` on the PATH, and a home without any settings."""
    path = tmp_path / "bin" / "dltrain"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m dltrain "$@"\n')
    path.chmod(0o755)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    return path


def need(shell: str) -> str:
    return shutil.which(shell) or pytest.skip(f"{shell} is not installed")


def type_keys(command: list[str], keys: str, expected: str) -> str:
    """What an interactive shell shows once `keys` are typed after its prompt; waits for `expected`."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb", PS1="> ", COLUMNS="200", LINES="50")
        os.execvp(command[0], command)
    shown, typed, end = "", False, time.monotonic() + 40
    try:
        while time.monotonic() < end and not (typed and re.search(expected, shown)):
            if select.select([terminal], [], [], 0.2)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            if not typed and re.search(r"[>#$] $", shown):
                typed = True
                os.write(terminal, keys.encode())
                shown = ""
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(terminal)
    assert re.search(expected, shown), shown
    return shown


LINES = [
    ("dltrain fit mnist_cn", r"mnist_cnn "),
    ("dltrain fit mnist_cnn trainer.epo", r"trainer\.epochs="),
    ("dltrain fit mnist_cnn --set trainer.precision=b", r"precision=bf16 "),
    ("dltrain eval runs/fir", r"runs/first "),
]


@pytest.mark.slow
@pytest.mark.parametrize(("line", "expected"), LINES)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_an_interactive_shell_completes(shell: str, line: str, expected: str, program: Path) -> None:
    path = need(shell)
    install_script(shell, Path.home())
    start = [path, "--noprofile", "--rcfile", str(Path.home() / ".bashrc"), "-i"] if shell == "bash" else [path, "-i"]
    if shell == "zsh":
        rc = Path.home() / ".zshrc"
        rc.write_text("unsetopt zle_bracketed_paste prompt_sp prompt_cr; unset zle_bracketed_paste\n" + rc.read_text())
    type_keys(start, f"{line}\t", expected)


@pytest.mark.slow
@pytest.mark.parametrize(("line", "expected"), LINES)
def test_fish_completes(line: str, expected: str, program: Path) -> None:
    path = need("fish")
    install_script("fish", Path.home())
    done = subprocess.run([path, "-c", f"complete -C '{line}'"], capture_output=True, text=True, check=True)
    assert re.search(expected, done.stdout.replace("\t", " ").replace("\n", " ")), done.stdout + done.stderr


def test_bash_asks_for_the_word_at_the_cursor(program: Path) -> None:
    script = (
        f"{SCRIPTS['bash']}\ncompopt() {{ echo nospace; }}\n"
        "COMP_LINE='dltrain fit mnist_cnn trainer.epo --fresh'; COMP_POINT=33\n"
        '_dltrain dltrain; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run([need("bash"), "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "nospace\ntrainer.epochs=\n"


def test_installation_is_repeatable(tmp_path: Path) -> None:
    for shell in SCRIPTS:
        for _ in range(2):
            written = install_script(shell, tmp_path / "new")
        assert written[0].read_text() == SCRIPTS[shell]
        for start_file in written[1:]:
            assert (
                start_file.read_text().count("dltrain" if shell == "bash" else "fpath=(") == 1 + (shell == "bash") * 0
            )


def test_the_shell_is_found_or_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    print_script("fish")
    assert capsys.readouterr().out == SCRIPTS["fish"]
    monkeypatch.setattr(os, "getppid", lambda: 0)
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert detect_shell() == "zsh"
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    with pytest.raises(UsageError, match="no completion for the shell 'tcsh'\nallowed: bash, zsh, fish"):
        detect_shell()
