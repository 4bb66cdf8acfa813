"""LibriSpeech and Speech Commands: their layouts, bad files, and archives, on small corpora of the same format."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from dltrain.data.mirrors import Remote
from dltrain.data.speech.check import verify
from dltrain.data.speech.options import LogMel
from dltrain.data.speech.published import fetch, place_member
from dltrain.errors import DataError, UsageError
from support.mirrors import QuietHandler, serve
from support.published_speech import SUBSETS, write_commands, write_librispeech
from support.speech import built

OPTIONS = {"sample_rate_hz": 8000, "features": LogMel(bands=10), "subsampling": 2}


def shown(root: Path, name: str, split: str, **options: object) -> list[dict[str, str]]:
    dataset = built(root, name, **OPTIONS, **options)
    count = len(dataset.identities(split))  # type: ignore[arg-type]
    return dataset.show_raw(split, range(count))  # type: ignore[arg-type]


def test_librispeech_is_read_by_subset_with_its_readers(tmp_path: Path) -> None:
    written = write_librispeech(tmp_path)
    for split, subset in (("training", "train-clean-100"), ("validation", "dev-clean"), ("test", "test-clean")):
        rows = shown(tmp_path, "librispeech", split)
        assert sorted((Path(row["clip"]).stem, row["text"]) for row in rows) == sorted(written[subset])
        assert all(row["speaker"] == Path(row["clip"]).name.split("-")[0] for row in rows)
    assert [row["clip"] for row in shown(tmp_path / "LibriSpeech", "librispeech", "test", test="dev-clean")] == [
        row["clip"] for row in shown(tmp_path, "librispeech", "validation")
    ]
    with pytest.raises(DataError, match=r"train-other-500: not found in (.|\n)*unpack train-other-500\.tar\.gz"):
        built(tmp_path, "librispeech", train="train-other-500")


def test_speech_commands_go_by_their_lists(tmp_path: Path) -> None:
    splits = write_commands(tmp_path)
    for split, names in splits.items():
        rows = shown(tmp_path, "speech_commands", split)
        assert sorted(row["clip"] for row in rows) == sorted(names)
        assert all(row["text"] == row["clip"].split("/")[0] for row in rows)
        assert all(row["speaker"] == row["clip"].split("/")[1][:8] for row in rows)
    kept = shown(tmp_path, "speech_commands", "validation", validation=0.3)
    assert {row["clip"] for row in kept} < set(splits["training"])
    assert len({row["speaker"] for row in kept}) < 6, "whole speakers are kept"


def test_bad_lines_and_files_are_counted_by_name(tmp_path: Path) -> None:
    write_librispeech(tmp_path)
    chapter = next((tmp_path / "LibriSpeech" / "dev-clean").glob("*/*/*.trans.txt"))
    chapter.write_text(chapter.read_text() + "9-9-0001\n9-9-0002 ABBA\n")
    reports = {report.name: report for report in verify("librispeech", tmp_path, subsampling=2)}
    assert {name: report.clips for name, report in reports.items()} == {**SUBSETS, "dev-clean": 6}
    reasons = {name: reason for name, _, reason in reports["dev-clean"].bad}
    assert any("has no transcript" in reason for reason in reasons.values())
    assert any(name.endswith("9-9-0002.flac") for name in reasons)
    assert reports["test-clean"].fault is None
    chapter.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        built(tmp_path, "librispeech", **OPTIONS)


def test_a_corpus_without_its_lists_is_refused(tmp_path: Path) -> None:
    write_commands(tmp_path)
    listed = tmp_path / "speech_commands_v0.02" / "validation_list.txt"
    listed.write_text("ab/x_nohash_0.wav\nsomething else\n")
    reports = verify("speech_commands", tmp_path, subsampling=2)
    assert [report.fault is not None for report in reports] == [False, True, False]
    assert any("expected is WORD/NAME.wav, found 'something else'" in reason for _, _, reason in reports[1].bad)
    listed.unlink()
    with pytest.raises(DataError, match=r"validation_list\.txt: not found"):
        built(tmp_path, "speech_commands", **OPTIONS)
    with pytest.raises(UsageError, match="speech_commands has lists of its own"):
        built(tmp_path, "speech_commands", train="x.tsv", **OPTIONS)


@pytest.mark.parametrize("name", ["librispeech", "speech_commands"])
def test_archives_are_fetched_checked_and_unpacked(tmp_path: Path, name: str) -> None:
    source = tmp_path / "source"
    if name == "librispeech":
        write_librispeech(source)
        members = {
            f"{subset}.tar.gz": [(source / "LibriSpeech" / subset, f"LibriSpeech/{subset}")] for subset in SUBSETS
        }
    else:
        write_commands(source)
        members = {"speech_commands_v0.02.tar.gz": [(source / "speech_commands_v0.02", ".")]}
    served: dict[str, bytes] = {}
    for archive, added in members.items():
        with tarfile.open(tmp_path / archive, "w:gz") as packed:
            for path, inside in added:
                packed.add(path, inside)
        served[archive] = (tmp_path / archive).read_bytes()

    class Handler(QuietHandler):
        def answer(self) -> None:
            content = served[self.path.lstrip("/")]
            self.send_head(len(content))
            self.wfile.write(content)

    archives = [Remote(file, None, "sha256", hashlib.sha256(content).hexdigest()) for file, content in served.items()]
    with serve(Handler) as address:
        folders = fetch(name, tmp_path / "data", [address], archives=archives)
        wrong = [archive._replace(digest="0" * 64) for archive in archives]
        assert fetch(name, tmp_path / "data", [address], archives=wrong) == folders, "nothing is fetched twice"
        with pytest.raises(DataError, match="SHA-256"):
            fetch(name, tmp_path / "other", [address], archives=wrong)
    assert all(folder.is_dir() for folder in folders)
    assert shown(tmp_path / "data", name, "test") == shown(source, name, "test")
    assert not list((tmp_path / "data").rglob("*.tar.gz"))


@pytest.mark.parametrize("member", ["../x.wav", "/etc/passwd", "yes/../../x.wav"])
def test_no_member_leaves_the_folder(member: str) -> None:
    assert place_member(member) is None
    assert place_member(f"LibriSpeech/{member.lstrip('/')}" if ".." in member else member, within="LibriSpeech") is None
