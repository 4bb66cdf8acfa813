"""N-gram models: scores against KenLM's, estimates against a count by hand, and sums of one."""

from __future__ import annotations

import gzip
import math
import random
from pathlib import Path

import pytest

from dltrain.decoding.ngram import NGramModel, estimate_ngrams, read_arpa, write_arpa
from dltrain.errors import DataError
from support.ngrams import score_sentence

SMALL = """made by hand

\\data\\
ngram 1=6
ngram 2=5
ngram 3=2

\\1-grams:
-1.2	<unk>
-99	<s>	-0.31
-0.8	</s>
-0.7	the	-0.42
-1.1	cat	-0.17
-1.3	sat	-0.23

\\2-grams:
-0.25	<s> the	-0.11
-0.55	the cat	-0.29
-0.45	cat sat	-0.07
-0.35	sat </s>
-0.95	sat the	-0.05

\\3-grams:
-0.15	<s> the cat
-0.19	the cat sat

\\end\\
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.arpa"
    path.write_text(SMALL)
    return path


KENLM = {
    "the cat sat": [-0.25, -0.15, -0.19, -0.42],
    "cat the sat": [-1.41, -0.87, -1.72, -0.35],
    "a dog sat": [-1.51, -1.2, -1.3, -0.35],
    "sat the cat sat the": [-1.61, -0.95, -0.6, -0.19, -1.02, -1.27],
    "": [-1.11],
    "the the the": [-0.25, -1.23, -1.12, -1.22],
    "sat the dog cat sat": [-1.61, -0.95, -1.67, -1.1, -0.45, -0.42],
}
"""What kenlm.Model.full_scores of KenLM gives for this file."""


@pytest.mark.parametrize("sentence", KENLM)
def test_scores_are_kenlm_s(small: Path, sentence: str) -> None:
    model = read_arpa(small)
    context, found = model.beginning, []
    for word in [*sentence.split(), "</s>"]:
        found.append(model.score(context, word))
        context = model.after(context, word)
    assert found == pytest.approx(KENLM[sentence])
    assert score_sentence(model, sentence.split()) == pytest.approx(sum(KENLM[sentence]))


def test_unknown_words_without_unk_score_as_kenlm_s(small: Path) -> None:
    small.write_text(SMALL.replace("-1.2\t<unk>\n", "").replace("1=6", "1=5"))
    model = read_arpa(small)
    assert score_sentence(model, ["a", "dog", "sat"]) == pytest.approx(-201.96)
    assert score_sentence(model, ["the", "cat"]) == pytest.approx(-1.66)


def text(lines: int = 150) -> list[str]:
    draw = random.Random(3)
    words = [f"w{number}" for number in range(20)]
    weights = [1 / (number + 1) for number in range(20)]
    return [" ".join(draw.choices(words, weights, k=draw.randint(0, 8))) for _ in range(lines)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_estimates_sum_to_one_after_every_context(order: int) -> None:
    model = estimate_ngrams(text(), order)
    draw = random.Random(order)
    predicted = sorted(model.vocabulary - {"<s>"})
    assert "<unk>" in predicted
    contexts = {model.beginning} | {tuple(key.split()) for key in model.backoffs}
    for _ in range(50):
        contexts.add(tuple(draw.choices([*predicted, "unheard"], k=order - 1)))
    contexts = {tuple(model.map_unknown(word) for word in context) for context in contexts}
    assert len(contexts) > (50 if order > 2 else 0)
    for context in contexts:
        assert sum(10 ** model.score(context, word) for word in predicted) == pytest.approx(1, abs=1e-9)


def test_estimates_by_hand() -> None:
    """`a b` and `a c`: discounts 3/5 and 2/3; b, c and a follow one word each, </s> two."""
    model = estimate_ngrams(["a b", " a  c ", ""], 2)
    for word, probability in (("a", 0.176), ("b", 0.176), ("c", 0.176), ("</s>", 0.376), ("<unk>", 0.096)):
        assert 10 ** model.score((), word) == pytest.approx(probability)
    assert 10 ** model.score(("a",), "b") == pytest.approx((1 - 2 / 3) / 2 + 2 / 3 * 0.176)
    assert 10 ** model.score(("<s>",), "a") == pytest.approx((2 - 2 / 3) / 2 + 1 / 3 * 0.176)
    assert 10 ** model.score(("a",), "a") == pytest.approx(
        2 / 3 * 0.176
    )  # never seen: the weight times the shorter one
    assert model.score(("<unk>",), "a") == model.score((), "a")


def test_an_unk_of_the_text_s_own_is_the_model_s() -> None:
    model = estimate_ngrams(["a <unk> b", "a b"], 2)
    assert sum(10 ** model.score(("a",), word) for word in model.vocabulary - {"<s>"}) == pytest.approx(1)
    assert model.score(("a",), "unheard") == model.score(("a",), "<unk>") > model.score(("b",), "<unk>")


def test_a_higher_order_fits_its_own_text_better() -> None:
    lines = [line.split() for line in text()]
    models = [estimate_ngrams(text(), order) for order in (1, 2, 3)]
    fits = [sum(score_sentence(model, line) for line in lines) for model in models]
    assert fits == sorted(fits)


@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_written_and_read_again(tmp_path: Path, name: str) -> None:
    model, path = estimate_ngrams(text(30), 3), tmp_path / name
    write_arpa(model, path)
    again = read_arpa(path)
    assert again.order == 3
    assert again.probabilities == pytest.approx(model.probabilities, abs=1e-7)
    assert again.backoffs == pytest.approx(model.backoffs, abs=1e-7)
    first = path.read_bytes()
    write_arpa(model, path)
    assert path.read_bytes() == first


def test_kenlm_reads_what_is_written(tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm")
    model, path = estimate_ngrams(text(60), 3), tmp_path / "model.arpa"
    write_arpa(model, path)
    theirs = kenlm.Model(str(path))
    for sentence in [*text(20), "w1 unheard w2 w3"]:
        assert theirs.score(sentence) == pytest.approx(score_sentence(model, sentence.split()), abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            "\\data\\",
            "data",
            27,
            "a line '\\data\\', since a language model is an ARPA file, found the end of the file",
        ),
        ("ngram 1=6", "ngram 1=x", 4, "'ngram 1=COUNT' and so on, for orders 1 to 5, found 'ngram 1=x'"),
        ("ngram 2=5", "ngram 3=5", 5, "'\\1-grams:', found 'ngram 3=5'"),
        (
            "-0.7\tthe",
            "-0.7\tthe big",
            12,
            "log10 p, 1 words and optionally a back-off weight, found '-0.7\tthe big\t-0.42'",
        ),
        ("-0.7\tthe", "x\tthe", 12, "a number, not 'x', in the n-gram, found 'x\tthe\t-0.42'"),
        ("-0.7\tthe", "nan\tthe", 12, "a number other than NaN, found 'nan\tthe\t-0.42'"),
        ("-0.7\tthe", "0.7\tthe", 12, "a log10 probability of at most 0, found '0.7\tthe\t-0.42'"),
        ("cat\t-0.17", "the\t-0.17", 16, "the 6 1-grams that \\data\\ lists, found '5 different ones'"),
        ("\\2-grams:", "\\3-grams:", 16, "'\\2-grams:', found '\\3-grams:'"),
        ("\\end\\", "", 27, "'\\end\\', found the end of the file"),
    ],
)
def test_faults_have_a_line(small: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in SMALL
    small.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        read_arpa(small)
    expected = f"{small}:{line}: expected {message}\nnext: make or copy the ARPA file again"
    assert str(caught.value) == expected


def test_orders_that_are_not_allowed(small: Path) -> None:
    small.write_text("\\data\\\n" + "".join(f"ngram {order}=0\n" for order in range(1, 7)))
    with pytest.raises(DataError, match=r"for orders 1 to 5, found the end of the file"):
        read_arpa(small)
    for order in (0, 6):
        with pytest.raises(ValueError, match=f"the order of a language model is 1 to 5, found {order}"):
            estimate_ngrams(["a"], order)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.arpa: cannot be read as a language model: No such file or directory"):
        read_arpa(tmp_path / "none.arpa")
    packed = tmp_path / "cut.arpa.gz"
    packed.write_bytes(gzip.compress(SMALL.encode())[:-20])
    with pytest.raises(DataError, match=r"cut\.arpa\.gz: cannot be read as a language model: Compressed file ended"):
        read_arpa(packed)
    packed.write_bytes(b"plain")
    with pytest.raises(DataError, match=r"cut\.arpa\.gz: cannot be read as a language model: Not a gzipped file"):
        read_arpa(packed)
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"\xff\xfe\x00mmap")
    with pytest.raises(
        DataError, match=r"model\.bin: not UTF-8 text \(invalid start byte\); a language model is an ARPA"
    ):
        read_arpa(binary)


def test_texts_that_make_no_model() -> None:
    with pytest.raises(DataError, match="the text for the language model has no words"):
        estimate_ngrams(["", "  "], 3)
    with pytest.raises(DataError, match="line 2 of the text: <s> and </s> are added to each line; take them out"):
        estimate_ngrams(["a", "<s> a </s>"], 3)


def test_a_model_of_one_word_order_has_no_context() -> None:
    model = estimate_ngrams(["a a b"], 1)
    assert isinstance(model, NGramModel)
    assert model.beginning == model.after(("a",), "b") == ()
    assert math.isclose(score_sentence(model, ["a"]), model.score((), "a") + model.score((), "</s>"))
