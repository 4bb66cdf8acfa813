"""Text goes on as the model says, from the state it carries, and ends where it should; the command prints it."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from dltrain.cli.main import application
from dltrain.data.text.language_model import Reading
from dltrain.data.text.vocabulary import Vocabulary
from dltrain.decoding.generation import READ_AT_ONCE, Ending, GrowingText, generate_texts, generate_tokens, grow_texts
from dltrain.decoding.sampling import Sampling
from dltrain.errors import DataError, Diverged, UsageError
from dltrain.runtime.interrupts import Interrupts

CPU = torch.device("cpu")
GREEDY = Sampling(temperature=0)
WORDS = ["<eos>", "<unk>", "a", "b", "cat", "sat", "the", "was"]


def vocabulary(words: Sequence[str] = WORDS, unit: str = "word") -> Vocabulary:
    unknown = "<unk>" if "<unk>" in words else None
    assets = {"dataset": "toy", "unit": unit, "words": list(words), "lowercase": True, "end": "<eos>"}
    return Vocabulary({**assets, "unknown": unknown})


class Exact:
    """The next token depends on all before it through integers, so no batch changes a bit; counts what it reads.

    Its state is nested, and has its columns in another dimension of each tensor.
    """

    def __init__(self, tokens: int = 6, states: int = 11) -> None:
        generator = torch.Generator().manual_seed(0)
        self.table = torch.rand(states, tokens, generator=generator).log_softmax(1)
        self.states, self.read = states, 0

    def __call__(self, tokens: Tensor, state: Any) -> Reading:
        self.read += len(tokens)
        columns = tokens.shape[1]
        hashes, (last, _) = state or (torch.ones(columns, dtype=torch.int64), (torch.zeros(2, columns, 1), None))
        features = []
        for row in tokens:
            hashes = (hashes * 31 + 7 * row + last[1, :, 0].long() + 1) % 1009
            last = torch.stack([last[1], row[:, None].float()])
            features.append(hashes[:, None] % self.states)
        return Reading(torch.stack(features), (hashes, (last, None)))

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        raise AssertionError("generation needs no loss")

    def log_probabilities(self, features: Tensor) -> Tensor:
        return self.table[features[:, 0]]


class Constant(Exact):
    """The same distribution after every token."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.table = torch.tensor(probabilities).log().expand(self.states, -1)


class ToyLSTM(nn.Module):
    def __init__(self, tokens: int = 9, units: int = 12) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(tokens, units)
        self.layers = nn.LSTM(units, units, 2)
        self.output = nn.Linear(units, tokens)

    def forward(self, tokens: Tensor, state: Any) -> Reading:
        return Reading(*self.layers(self.embedding(tokens), state))

    def nats(self, features: Tensor, targets: Tensor) -> Tensor:
        raise AssertionError("generation needs no loss")

    def log_probabilities(self, features: Tensor) -> Tensor:
        return (3 * self.output(features)).log_softmax(1)


def columns(
    model: Any,
    prompt: Sequence[int] = (),
    samples: Sequence[int] = (0,),
    seed: int = 0,
    count: int = 20,
    **settings: Any,
) -> list[list[int]]:
    written = generate_tokens(
        model, prompt, end=0, device=CPU, sampling=Sampling(**settings), samples=samples, seed=seed
    )
    return [list(column) for column in zip(*(step.ids for step in islice(written, count)), strict=True)]


def test_going_on_from_the_state_is_reading_the_whole_prefix_again() -> None:
    model, prompt = ToyLSTM(), [4, 2, 7]
    read, told = [0, *prompt], []
    for step in islice(
        generate_tokens(model, prompt, end=0, device=CPU, sampling=Sampling(temperature=1.3), samples=(5,), seed=1), 30
    ):
        told += step.log_probabilities
        with torch.inference_mode():
            state: Any = None
            for token in read:
                reading = model(torch.tensor([[token]]), state)
                state = reading.state
            expected = model.log_probabilities(reading.features[-1])[0]
        assert told[-1] == pytest.approx(float(expected[step.ids[0]]), abs=1e-5)
        read += step.ids
    assert len(set(read)) > 4


def test_greedy_is_the_argmax_of_the_whole_prefix() -> None:
    model = ToyLSTM()
    read = [0, 3]
    for token in columns(model, [3], temperature=0)[0]:
        with torch.inference_mode():
            assert token == int(model.log_probabilities(model(torch.tensor(read)[:, None], None).features[-1]).argmax())
        read.append(token)


def test_a_sample_does_not_depend_on_which_others_are_asked_for() -> None:
    together = columns(Exact(), [1, 2], range(5))
    assert [columns(Exact(), [1, 2], [number])[0] for number in range(5)] == together
    assert columns(Exact(), [1, 2], [3, 1]) == [together[3], together[1]]
    assert len({tuple(one) for one in together}) == 5


def test_a_seed_decides_everything() -> None:
    assert columns(Exact(), seed=4, temperature=0.9) == columns(Exact(), seed=4, temperature=0.9)
    assert columns(Exact(), seed=4) != columns(Exact(), seed=5)


@pytest.mark.parametrize("samples", [1, 3])
def test_nothing_is_read_twice_however_long_the_text(samples: int) -> None:
    model = Exact()
    prompt = [number % 5 for number in range(2 * READ_AT_ONCE + 17)]
    columns(model, prompt, range(samples), count=40)
    dry = 2 if samples > 1 else 0  # to see where the state has its columns
    assert model.read == 1 + len(prompt) + 39 + dry


def test_a_long_prompt_is_read_in_parts_that_go_on_from_each_other() -> None:
    prompt = [number * number % 6 for number in range(READ_AT_ONCE + 5)]
    model = Exact()
    whole = model(torch.tensor([0, *prompt])[:, None], None)
    assert columns(model, prompt, count=1, temperature=0) == [
        [int(model.log_probabilities(whole.features[-1]).argmax())]
    ]


def test_a_banned_token_never_comes() -> None:
    seen = {token for column in columns(Exact(), samples=range(40), banned=(1, 4), count=50) for token in column}
    assert seen == {0, 2, 3, 5}


def test_the_log_probabilities_are_the_model_s_own() -> None:
    settings = Sampling(temperature=0.5, top_k=2, repetition_penalty=2.0, banned=(0,))
    model = Constant(0.4, 0.3, 0.2, 0.1)
    for step in islice(generate_tokens(model, [], end=0, device=CPU, sampling=settings, samples=range(3), seed=0), 10):
        expected = [math.log([0.4, 0.3, 0.2, 0.1][token]) for token in step.ids]
        assert step.log_probabilities == pytest.approx(expected, abs=1e-6)


def test_the_repetition_penalty_is_for_the_prompt_and_what_was_written_not_for_the_opening() -> None:
    # 0.3, 0.25 and 0.2 to the power of 10 are smaller than 0.05 to the power of 1
    model = Constant(0.4, 0.3, 0.25, 0.05)
    assert columns(model, [1], count=5, temperature=0, repetition_penalty=10.0) == [[0, 2, 3, 0, 0]]
    assert columns(model, [], count=5, temperature=0, repetition_penalty=10.0) == [[0, 1, 2, 3, 0]]


def test_inference_mode_ends_with_each_step() -> None:
    for _ in islice(generate_tokens(Exact(), [], end=0, device=CPU, sampling=Sampling(), samples=(0,), seed=0), 2):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("model", [Constant(0.5, math.nan, 0.5), Constant(1.0, 0.0, 0.0)])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_leaves_nothing_to_choose(model: Constant, temperature: float) -> None:
    with pytest.raises(
        Diverged, match="leaves no token to choose: its probabilities are not finite, or all are on ban"
    ):
        columns(model, temperature=temperature, banned=(0,))


def test_texts_shown_while_training() -> None:
    words = vocabulary(WORDS[:6])
    texts = generate_texts(Exact(), words, CPU, samples=3, tokens=12, seed=7)
    assert len(set(texts)) == 3
    assert texts == generate_texts(Exact(), words, CPU, samples=3, tokens=12, seed=7)
    assert texts != generate_texts(Exact(), words, CPU, samples=3, tokens=12, seed=8)
    assert not any("<unk>" in text for text in texts)
    assert texts[:1] == generate_texts(Exact(), words, CPU, samples=1, tokens=12, seed=7)
    assert generate_texts(Exact(), words, CPU, samples=0, tokens=12, seed=7) == []


def grown(words: Vocabulary, ids: Sequence[int], ending: Ending, before: int = 0) -> tuple[GrowingText, list[str]]:
    """The text of given tokens, and the pieces in which it became certain."""
    text, pieces = GrowingText(words, before, ending), []
    for number, token in enumerate(ids):
        if text.ended is None:
            pieces.append(text.add(token, -float(number)))
    return text, pieces


@pytest.mark.parametrize("prompt", [[], [6, 4], [6, 0]])
def test_a_text_and_its_prompt_are_what_the_vocabulary_makes_of_their_tokens(prompt: list[int]) -> None:
    words = vocabulary()
    draw = random.Random(1)
    ids = [draw.choice([0, 0, 2, 3, 4]) for _ in range(60)]
    text, pieces = grown(words, ids, Ending(60), prompt[-1] if prompt else 0)
    assert words.decode(prompt) + str(text) == words.decode([*prompt, *ids])
    assert "".join(pieces) == str(text)
    assert (text.ids, text.ended) == (ids, "max_tokens")


def test_a_stop_across_words_ends_the_text_before_it() -> None:
    words = vocabulary()
    the, cat, sat, end = (WORDS.index(word) for word in ("the", "cat", "sat", "<eos>"))
    text, pieces = grown(words, [the, cat, the, cat, sat, the], Ending(10, ("cat sat",)))
    assert (str(text), text.ended) == ("the cat the ", "stop")
    assert text.ids == [the, cat, the]
    assert text.log_probabilities == [0, -1, -2]
    assert pieces == ["the", " ", "cat the", " ", ""]
    line, _ = grown(words, [the, cat, end, sat], Ending(10, ("\n",)))
    assert (str(line), line.ids) == ("the cat", [the, cat])
    inside, _ = grown(words, [the, cat, sat], Ending(10, ("at",)))
    assert (str(inside), inside.ids) == ("the c", [the, cat])
    first, _ = grown(words, [the, cat], Ending(10, ("sat", "cat", "the")))
    assert (str(first), first.ids, first.ended) == ("", [], "stop")


def test_a_stop_at_the_last_token_is_a_stop() -> None:
    text, _ = grown(vocabulary(), [4, 5], Ending(2, ("sat",)))
    assert (str(text), text.ended) == ("cat ", "stop")


def test_what_was_held_back_comes_when_the_text_ends_without_the_stop() -> None:
    text, pieces = grown(vocabulary(), [4, 5], Ending(2, ("sat on",)))
    assert pieces == ["cat", " sat"]
    assert (str(text), text.ended) == ("cat sat", "max_tokens")


def test_stops_of_characters_against_a_search_of_the_whole_text() -> None:
    words = vocabulary(["<eos>", "a", "b"], "character")
    draw = random.Random(2)
    stopped = 0
    for _ in range(300):
        ids = [draw.choice([0, 1, 1, 1, 2, 2]) for _ in range(20)]
        stops = tuple(
            "".join(draw.choice("ab\n") for _ in range(draw.randint(1, 5))) for _ in range(draw.randint(1, 3))
        )
        text, pieces = grown(words, ids, Ending(20, stops))
        whole = words.decode(ids)
        # the first stop to be complete ends the text, where the earliest one of those found by then begins
        ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
        read = whole[: min(ends, default=20)]
        places = [read.find(stop) for stop in stops if stop in read]
        expected = read[: min(places, default=20)]
        assert str(text) == "".join(pieces) == expected
        assert text.ended == ("stop" if places else "max_tokens")
        assert words.decode(text.ids) == expected
        stopped += bool(places)
    assert 50 < stopped < 300


def write_samples(samples: Sequence[int], ending: Ending, pieces: list[str]) -> list[GrowingText]:
    words = vocabulary(["<eos>", *"abcde"], "character")
    texts = [GrowingText(words, 2, ending) for _ in samples]
    steps = generate_tokens(Exact(), [2], end=0, device=CPU, sampling=Sampling(), samples=samples, seed=3)
    grow_texts(steps, texts, pieces.append)
    return texts


def test_samples_end_each_at_its_own_place() -> None:
    long = [str(text) for text in write_samples(range(4), Ending(30), [])]
    pieces: list[str] = []
    short = write_samples(range(4), Ending(30, ("e",)), pieces)
    assert [str(text) for text in short] == [text.split("e")[0] for text in long]
    assert len({len(text.ids) for text in short}) > 1
    assert sorted("".join(pieces)) == sorted("".join(map(str, short)))
    one: list[str] = []
    write_samples([0], Ending(30), one)
    assert "".join(one) == long[0]


PLUGIN = '''
import torch
from torch import nn
from dltrain.data.text.passages import Passages
from dltrain.registry import datasets, models
from dltrain.stream import Loader
from dltrain.data.text.language_model import Reading

WORDS = ["<eos>", "<unk>", "the", "cat", "sat", "down", "a"]


class Source:
    def __len__(self):
        return 1

    def batch(self, epoch, index):
        return Passages(torch.tensor([[0], [2]]), torch.tensor([[2], [3]]), 2, False)


@datasets.register("toy_text", data="text")
class ToyText:
    """Two words.

    Options:
        unit: word or character.
    """

    def __init__(self, variant, seed, assets, *, unit: str = "word"):
        words = WORDS if unit == "word" else ["<eos>", *"abc"]
        unknown = "<unk>" if unit == "word" else None
        self.assets = {"dataset": "toy text", "unit": unit, "words": words, "lowercase": True,
                       "end": "<eos>", "unknown": unknown}
        self.name, self.fingerprint, self.notice = "toy text", {}, "only a toy"

    def training(self):
        return Loader(Source())

    validation = test = training


@models.register("bigrams")
class Bigrams(nn.Module):
    """Each word is followed by the next one of the vocabulary, nearly always."""

    def __init__(self, vocabulary: int):
        super().__init__()
        table = 5 * torch.eye(vocabulary).roll(1, 1)
        table[0] = table[0].roll(1) if vocabulary > 4 else table[0]  # <unk> opens nothing
        self.table = nn.Parameter(table)

    def forward(self, tokens, state):
        return Reading(self.table[tokens], (torch.zeros(1, tokens.shape[1]),))

    def log_probabilities(self, features):
        return features.log_softmax(1)

    def nats(self, features, targets):
        return -self.log_probabilities(features).gather(1, targets[:, None])[:, 0]
'''


def call(*words: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(application(), list(map(str, words)), input=stdin, obj=Interrupts())


def good(*words: object, stdin: str | bytes | None = None) -> Result:
    result = call(*words, stdin=stdin)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result


def refused(*words: object, stdin: str | bytes | None = None) -> str:
    result = call(*words, stdin=stdin)
    assert isinstance(result.exception, UsageError), result.output + repr(result.exception)
    assert result.stdout == ""
    return str(result.exception)


def trained(folder: Path, unit: str) -> Path:
    (folder / "toy.py").write_text(PLUGIN)
    (folder / "toy.yaml").write_text(
        f"""
task: {{name: language_modelling, samples: 0}}
plugins: [toy.py]
data: {{name: toy_text, unit: {unit}}}
model: bigrams
optimizer: {{name: sgd, learning_rate: 1e-9}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
"""
    )
    good("fit", folder / "toy.yaml", "-o", folder / "run")
    (folder / "toy.py").unlink()
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of words that counts on through its vocabulary: after `the` comes `cat`, then `sat` ..."""
    return trained(tmp_path_factory.mktemp("words"), "word")


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of characters: after a newline `a`, then `b`, then `c`."""
    return trained(tmp_path_factory.mktemp("characters"), "character")


def test_a_prompt_goes_on(run: Path) -> None:
    result = good("generate", run, "--prompt", "The cat", "--temperature", 0, "--max-tokens", 7)
    assert result.stdout == "the cat sat down a\nthe cat sat\n"
    assert result.stderr == "warning: only a toy\n"


def test_without_a_prompt_a_text_begins(run: Path) -> None:
    assert good("generate", run, "--temperature", 0, "--max-tokens", 3).stdout == "the cat sat\n"


@pytest.mark.parametrize("words", [["-"], ["--prompt", "-"], ["--prompt-file", "-"]], ids=" ".join)
def test_a_prompt_from_standard_input(words: list[str], run: Path) -> None:
    told = good("generate", run, *words, "--temperature", 0, "--max-tokens", 2, stdin="the\r\nthe cat\n").stdout
    assert told == "the\nthe cat sat down\n"


def test_a_prompt_from_a_file(run: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("\ufeffthe cat\n\n", encoding="utf-8")
    words = ["--prompt-file", tmp_path / "prompt.txt", "--temperature", 0, "--max-tokens", 2]
    assert good("generate", run, *words).stdout == "the cat\nthe cat\n"
    (tmp_path / "prompt.txt").write_bytes(b"the \xff cat")
    result = call("generate", run, *words)
    assert isinstance(result.exception, DataError)
    assert f"{tmp_path}/prompt.txt: byte 4 is not UTF-8 text\nnext: convert it" in str(result.exception)
    result = call("generate", run, "-", stdin=b"\xff")
    assert "standard input: byte 0 is not UTF-8 text" in str(result.exception)
    result = call("generate", run, "--prompt-file", tmp_path / "none.txt")
    assert isinstance(result.exception, DataError)
    assert f"{tmp_path}/none.txt: cannot be read: No such file or directory\nnext: name a text file" in str(
        result.exception
    )


def test_unknown_words_are_named(run: Path, characters: Path) -> None:
    result = good("generate", run, "--prompt", "dog the dog " + " ".join(f"w{n}" for n in range(12)), "--max-tokens", 1)
    named = ", ".join(["'dog'", *(f"'w{number}'" for number in range(9))])
    assert f"warning: not in the model's vocabulary and read as <unk>: {named} and 3 more\n" in result.stderr
    assert result.stdout.startswith("<unk> the <unk> <unk> ")
    result = good("generate", characters, "--prompt", "axb", "--max-tokens", 1, "--temperature", 0)
    assert "warning: not in the model's vocabulary and left out: 'x'\n" in result.stderr
    assert result.stdout == "abc\n"


def test_json_tells_all_of_each_sample(run: Path) -> None:
    words = ["generate", run, "--prompt", "the", "--num-samples", 70, "--max-tokens", 5, "--seed", 3, "--json"]
    found = [json.loads(line) for line in good(*words).stdout.splitlines()]
    assert [one["sample"] for one in found] == list(range(70))
    assert found == [json.loads(line) for line in good(*words).stdout.splitlines()]
    assert len({one["text"] for one in found}) > 1
    alone = json.loads(good("generate", run, "--prompt", "the", "--max-tokens", 5, "--seed", 3, "--json").stdout)
    assert alone == found[0]
    assert {key: alone[key] for key in ("sample", "prompt", "seed", "ended")} == {
        "sample": 0, "prompt": "the", "seed": 3, "ended": "max_tokens",
    }  # fmt: skip
    table = 5 * torch.eye(7).roll(1, 1)
    table[0] = table[0].roll(1)
    names = ["<eos>", "<unk>", "the", "cat", "sat", "down", "a"]
    for one in found:
        before = "the"
        assert len(one["tokens"]) == 5
        for token in one["tokens"]:
            expected = table[names.index(before)].log_softmax(0)[names.index(token["token"])]
            assert token["log_probability"] == pytest.approx(float(expected), abs=1e-5)
            assert token["token"] != "<unk>"
            before = token["token"]


def test_several_samples_stand_under_their_numbers(run: Path) -> None:
    told = good("generate", run, "--num-samples", 2, "--temperature", 0, "--max-tokens", 2).stdout
    assert told == "--- sample 0\nthe cat\n--- sample 1\nthe cat\n"


def test_a_stop_ends_the_text(run: Path, characters: Path) -> None:
    words = ["generate", run, "--prompt", "the", "--temperature", 0, "--max-tokens", 20]
    assert good(*words, "--stop", "<eos>").stdout == "the cat sat down a\n"
    assert good(*words, "--stop", "nothing", "--stop", "sat d").stdout == "the cat \n"
    found = json.loads(good(*words, "--stop", "\n", "--json").stdout)
    assert (found["ended"], found["text"]) == ("stop", " cat sat down a")
    assert [one["token"] for one in found["tokens"]] == ["cat", "sat", "down", "a"]
    letters = ["generate", characters, "--temperature", 0, "--max-tokens", 20, "--stop", "c\na"]
    assert good(*letters).stdout == "ab\n"


def test_what_is_banned_never_comes(run: Path) -> None:
    words = ["generate", run, "--num-samples", 40, "--temperature", 50, "--max-tokens", 40, "--json"]

    def tokens(*more: str) -> set[str]:
        found = [json.loads(line) for line in good(*words, *more).stdout.splitlines()]
        return {token["token"] for one in found for token in one["tokens"]}

    everything = {"<eos>", "<unk>", "the", "cat", "sat", "down", "a"}
    assert tokens() == everything - {"<unk>"}
    assert tokens("--ban", "") == everything
    assert tokens("--ban", "Cat", "--ban", "<eos>") == everything - {"cat", "<eos>"}


def test_a_stream_prints_the_same_text(run: Path) -> None:
    words = ["generate", run, "--prompt", "the", "--max-tokens", 40, "--stop", "a the"]
    assert good(*words, "--stream").stdout == good(*words).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--stream", "--json"],
            "--stream prints one text as it grows and cannot go with --json; leave one of them out",
        ),
        (["--stream", "--num-samples", "2"], "--stream prints one text as it grows and cannot go with --num-samples 2"),
        (["--stop", ""], "--stop: found an empty text; allowed is a text of at least one character"),
        (["once"], "found 'once' after the run; allowed is - (standard input), or --prompt 'once'"),
        (["-", "--prompt", "the"], "- and --prompt: allowed is one prompt; leave out the others"),
        (["--temperature", "-1"], "--temperature: found -1.0; allowed is a number >= 0"),
        (["--ban", "cats"], "--ban: 'cats' is not one of the 7 words of the vocabulary\ndid you mean 'cat'?"),
        (["--ban", "zebra"], "--ban: 'zebra' is not one of the 7 words of the vocabulary"),
        (["--device", "cuda:9"], "--device: this machine has no device 'cuda:9'"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_cannot_be_meant_is_refused(words: list[str], message: str, run: Path) -> None:
    assert refused("generate", run, *words, stdin="").startswith(message)


def test_not_every_word_can_be_banned(characters: Path) -> None:
    words = [word for letter in ("<eos>", "a", "b", "c") for word in ("--ban", letter)]
    assert refused("generate", characters, *words) == ("--ban: names all 4 words of the vocabulary; leave at least one")


def test_numbers_out_of_range_exit_with_two(run: Path) -> None:
    for option in ("--max-tokens", "--num-samples"):
        result = call("generate", run, option, 0)
        assert result.exit_code == 2
        assert f"Invalid value for '{option}'" in result.stderr


def test_another_task_writes_nothing(images_root: Path, tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text(
        f"""
task: image_classification
data: {{name: mnist, root: "{images_root}", batch_size: 100, download: false}}
model: {{name: mlp, hidden: [4]}}
trainer: {{epochs: 1, device: cpu, threads: 1}}
"""
    )
    good("fit", tmp_path / "digits.yaml", "-o", tmp_path / "run")
    assert refused("generate", tmp_path / "run") == (
        f"{tmp_path}/run: the task 'image_classification' does not generate text\n"
        "next: name the run of a task that does"
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--stream"], ["--num-samples", "70", "--json"]], ids=" ".join)
def test_a_reader_that_leaves_is_no_failure(words: list[str], run: Path) -> None:
    command = [sys.executable, "-m", "dltrain", "generate", str(run), "--trust-plugins", "--max-tokens", "300", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(3)
        process.stdout.close()
        assert process.stderr.read() == b"warning: only a toy\n"
        assert process.wait() == 0


def test_help_comes_without_torch(dltrain_process: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    program = (
        "import sys; from dltrain.cli.main import main; sys.argv = ['dltrain', 'generate', '--help']\n"
        "try: main()\nexcept SystemExit as left: assert not left.code\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--repetition-penalty" in done.stdout
