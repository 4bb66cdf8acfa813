"""Manifests as they come, and transcripts as they are spelled."""

from __future__ import annotations

import itertools
import unicodedata
from pathlib import Path

import pytest

from dltrain.data.speech.manifests import read_common_voice, read_manifest
from dltrain.data.speech.transcripts import (
    BLANK,
    collect_alphabet,
    count_needed_frames,
    normalize_transcript,
    parse_alphabet,
    spell_transcript,
)
from dltrain.errors import DataError

OLD = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"
NEW = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\n"


def table(folder: Path, content: str | bytes, name: str = "train.tsv") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def test_columns_are_found_by_name_in_old_and_new_releases(tmp_path: Path) -> None:
    table(tmp_path, OLD + "anna\ta.mp3\tOne.\t2\t0\t\t\t\n")
    old = read_common_voice(tmp_path, "train")
    table(tmp_path, NEW + "anna\ta.mp3\t77\tOne.\t\t2\t0\n")
    assert read_common_voice(tmp_path, "train") == old
    (clip,) = old
    assert (clip.name, clip.path, clip.text, clip.speaker, clip.line, clip.seconds, clip.fault) == (
        "a.mp3", tmp_path / "clips" / "a.mp3", "One.", "anna", 2, None, None
    )  # fmt: skip


def test_the_first_releases_leave_out_the_ending(tmp_path: Path) -> None:
    table(tmp_path, OLD + "anna\tabc\tOne.\t2\t0\t\t\t\n")
    assert read_common_voice(tmp_path, "train")[0].name == "abc.mp3"


def test_stated_durations_are_milliseconds(tmp_path: Path) -> None:
    table(tmp_path, OLD + "anna\ta.mp3\tOne.\t2\t0\t\t\t\nanna\tb.mp3\tTwo.\t2\t0\t\t\t\n")
    table(tmp_path, "clip\tduration[ms]\na.mp3\t1234\n", "clip_durations.tsv")
    assert [clip.seconds for clip in read_common_voice(tmp_path, "train")] == [1.234, None]
    table(tmp_path, "clip\tduration[ms]\na.mp3\tlong\n", "clip_durations.tsv")
    with pytest.raises(DataError, match=r"clip_durations.tsv, line 2: the duration is 'long', expected milliseconds"):
        read_common_voice(tmp_path, "train")


def test_quotes_are_characters_like_others(tmp_path: Path) -> None:
    table(tmp_path, OLD + 'anna\ta.mp3\t"Well," she said\t2\t0\t\t\t\nben\tb.mp3\t"Open\t2\t0\t\t\t\n')
    assert [clip.text for clip in read_common_voice(tmp_path, "train")] == ['"Well," she said', '"Open']


def test_a_tab_in_a_sentence_is_a_fault_of_its_line_alone(tmp_path: Path) -> None:
    table(tmp_path, OLD + "anna\ta.mp3\tOne\ttwo\t2\t0\t\t\t\nben\tb.mp3\tThree\t2\t0\t\t\t\nben\tc.mp3\n")
    first, second, third = read_common_voice(tmp_path, "train")
    assert first.fault == "line 2 of train.tsv has 9 columns, its first line 8 (a tab within a field?)"
    assert (second.fault, second.text) == (None, "Three")
    assert third.fault == "line 4 of train.tsv has 2 columns, its first line 8 (cut short?)"


def test_a_line_ends_at_a_line_feed_only(tmp_path: Path) -> None:
    table(tmp_path, "\ufeff" + OLD.replace("\n", "\r\n") + "anna\ta.mp3\tOne\u2028two\x85three\t2\t0\t\t\t\r\n")
    (clip,) = read_common_voice(tmp_path, "train")
    assert (clip.text, clip.fault) == ("One\u2028two\x85three", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "client_id\tfile\ttext\n",
            "train.tsv: no column 'path' and no column 'sentence' in its first line; found cl",
        ),
        ("", "found nothing: the file is empty\nnext: name the columns in its first line, with tabs"),
        (OLD, "train.tsv: names no clip"),
        (OLD.encode() + b"a\tb\t\xff\t2\t0\t\t\t\n", "train.tsv, line 2: not UTF-8: byte 0xff"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_common_voice(table(tmp_path, content), "train")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"dev.tsv: cannot be read \(No such file or directory\)\nnext: correct its name"
    ):
        read_common_voice(tmp_path, "dev")


def test_the_three_forms_of_a_manifest_say_the_same(tmp_path: Path) -> None:
    table(tmp_path, 'text,path,speaker\n"Yes, ""indeed""",sub/a.wav,anna\n', "a.csv")
    table(tmp_path, 'path\ttext\tspeaker\nsub/a.wav\tYes, "indeed"\tanna\n', "a.tsv")
    table(tmp_path, '{"path": "sub/a.wav", "text": "Yes, \\"indeed\\"", "speaker": "anna"}\n\n', "a.jsonl")
    clips = [read_manifest(tmp_path / f"a.{ending}")[0] for ending in ("csv", "tsv", "jsonl")]
    assert len({clip._replace(line=0) for clip in clips}) == 1
    assert clips[0].path == tmp_path / "sub" / "a.wav"
    assert clips[0].text == 'Yes, "indeed"'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"path": "a.wav"}\n{"path": 3, "text": ""}\n',
            "a.jsonl, line 2: expected an object with texts for",
        ),
        ("a.jsonl", "nothing\n", "a.jsonl, line 1: not JSON"),
        ("a.csv", 'path,text\na.wav,"open\n', "a.csv, line 2: not CSV"),
        ("a.txt", "path,text\n", "ends in '.txt'; a manifest is a .tsv, .csv or .jsonl file"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_manifest(table(tmp_path, content, name) / name)


def test_an_object_without_a_text_is_a_fault_of_its_line(tmp_path: Path) -> None:
    table(tmp_path, '{"path": "a.wav"}\n', "a.jsonl")
    assert read_manifest(tmp_path / "a.jsonl")[0].fault == "line 1 of a.jsonl has no text"
    table(tmp_path, "path,text\na.wav,yes,no\n", "a.csv")
    assert "(a comma outside quotes?)" in str(read_manifest(tmp_path / "a.csv")[0].fault)


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("Don’t  STOP!", "don't stop"),
        ("‘Rock ’n’ roll’, the dogs' tails", "rock n roll the dogs tails"),
        ('"Well-known" — e.g. $5 (five)…', "well known e g 5 five"),
        ("Ça va, Müßig? ÉCOLE", "ça va müßig école"),
        ("tab\tline\nfeed\u00a0no-break\u200bzero-width\u00adsoft", "tab line feed no breakzero widthsoft"),
        ("O`Neill O´Neill OʼNeill O＇Neill", "o'neill o'neill o'neill o'neill"),
        ("«Да»، क़लम。你好", "да क़लम 你好"),
        ("...", ""),
    ],
)
def test_transcripts_are_lower_case_without_punctuation(sentence: str, text: str) -> None:
    assert normalize_transcript(sentence) == unicodedata.normalize("NFC", text)


def test_a_decomposed_text_is_spelled_as_a_composed_one() -> None:
    decomposed = unicodedata.normalize("NFD", "Über Äcker, İzmir é")
    assert decomposed != "Über Äcker, İzmir é"
    assert normalize_transcript(decomposed) == normalize_transcript("Über Äcker, İzmir é")
    assert unicodedata.is_normalized("NFC", normalize_transcript(decomposed))


def test_words_may_stand_together() -> None:
    assert normalize_transcript("Two words, here", spaces=False) == "twowordshere"


def test_the_alphabet_begins_with_the_blank_and_the_space() -> None:
    assert collect_alphabet(["it's a", "cab"]) == [BLANK, " ", "'", "a", "b", "c", "i", "s", "t"]
    assert collect_alphabet(["one", "two"]) == [BLANK, " ", "e", "n", "o", "t", "w"]
    assert collect_alphabet(["one", "two"], spaces=False) == [BLANK, "e", "n", "o", "t", "w"]
    assert parse_alphabet("cba'") == [BLANK, " ", "'", "a", "b", "c"]
    assert parse_alphabet("ab", spaces=False) == [BLANK, "a", "b"]
    assert parse_alphabet("e\u0301", spaces=False) == [BLANK, "é"]


@pytest.mark.parametrize("characters", ["abC", "ab-", "İ"])
def test_an_alphabet_of_what_no_transcript_has_is_refused(characters: str) -> None:
    with pytest.raises(ValueError, match="never occurs in a transcript"):
        parse_alphabet(characters)


def test_what_the_alphabet_does_not_have_is_dropped_and_counted() -> None:
    places = {character: place for place, character in enumerate(parse_alphabet("abc"))}
    spelling = spell_transcript("ab é cé é", places)
    assert spelling.text == "ab c"
    assert spelling.characters == [2, 3, 1, 4]
    assert spelling.dropped == {"é": 3}
    assert spell_transcript("a b", {"a": 1, "b": 2}).characters == [1, 2]  # an alphabet without a space


def test_ctc_needs_a_blank_between_equal_neighbours() -> None:
    """Against every path: the shortest that collapses to the target."""

    def collapsed(path: tuple[int, ...]) -> list[int]:
        return [symbol for symbol, _ in itertools.groupby(path) if symbol]

    for target in ([1], [1, 2], [1, 1], [1, 2, 2], [1, 1, 1], [2, 2, 1, 1]):
        shortest = next(
            frames
            for frames in range(1, 8)
            if any(collapsed(path) == target for path in itertools.product(range(3), repeat=frames))
        )
        assert count_needed_frames(target) == shortest
