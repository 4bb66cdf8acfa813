"""Checkpoints: what was written comes back bit for bit; any harm is found, named, and fallen back from."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dltrain.core.checkpoint import Checkpoint, Checkpoints, _seal
from dltrain.core.record import History, Record
from dltrain.core.state import TrainState
from dltrain.errors import NoCheckpoint
from dltrain.goal import Goal
from dltrain.tree import join, make_storable, split

GOAL = Goal("accuracy", "max")
RECORD = Record(config={}, assets={}, dataset="made up", fingerprint={}, notice=None, signature={}, plugins={})
FILES = ("weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json")


def trained_state(steps: int = 3) -> TrainState:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 2)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    state = TrainState(model, optimizer, torch.amp.GradScaler("cpu", enabled=False))
    for _ in range(steps):
        model(torch.randn(4, 2, 3, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        state.step += 1
    return state


def written(folder: Path, step: int, score: float | None, ended: bool = True, loss: float | None = None) -> Checkpoint:
    state = trained_state()
    state.step = step
    state.history = History([{"accuracy": score, "loss": loss}])
    return Checkpoints(folder).write(state, RECORD, GOAL, ended)


def test_state_comes_back_bit_for_bit_with_its_memory_layout(tmp_path: Path) -> None:
    state = trained_state()
    state.carries[0] = (torch.arange(3), {"hidden": torch.ones(2, dtype=torch.bfloat16)})
    checkpoint = Checkpoints(tmp_path).write(state, RECORD, GOAL, evaluated=False)
    drawn = torch.rand(5)
    other = trained_state(steps=1)
    checkpoint.restore(other)
    assert torch.equal(torch.rand(5), drawn)  # the generator, too
    assert other.step == 3
    assert torch.equal(other.carries[0][0], state.carries[0][0])
    assert torch.equal(other.carries[0][1]["hidden"], state.carries[0][1]["hidden"])
    for mine, restored in zip(state.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, restored)
        for name, value in state.optimizer.state[mine].items():
            again = other.optimizer.state[restored][name]
            assert torch.equal(value, again)
            assert value.stride() == again.stride()


def test_trees_survive_json() -> None:
    tree = {"a": [1, 2.5, None, True, "x"], 3: (torch.ones(2), {"b": torch.zeros(1)}), "n": {"$x": 1}}
    tensors: dict[str, torch.Tensor] = {}
    plain = json.loads(json.dumps(split(tree, tensors)))
    again = join(plain, tensors)
    assert again["a"] == tree["a"]
    assert again["n"] == {"$x": 1}
    assert isinstance(again[3], tuple)
    assert torch.equal(again[3][0], torch.ones(2))
    tensors = {}
    again = join(split({"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}, tensors), tensors)
    assert torch.equal(again["a"]["b"], torch.ones(1))
    assert torch.equal(again["a.b"], torch.zeros(1))
    with pytest.raises(TypeError, match=r"cannot save a\.0: a set is neither a plain value nor a tensor"):
        split({"a": [{1, 2}]}, {})


def test_shared_memory_is_stored_apart() -> None:
    one = torch.ones(3)
    stored = make_storable({"a": one, "b": one})
    assert stored["a"].untyped_storage().data_ptr() != stored["b"].untyped_storage().data_ptr()


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_found_and_named(name: str, tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 1, 0.5)
    path = checkpoint.path / name
    whole = path.read_bytes()
    for size in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:size])
        fault = Checkpoint(checkpoint.path, 1, True).fault
        assert fault is not None
        assert fault.startswith(f"{name}: ")
    path.unlink()
    assert name in (Checkpoint(checkpoint.path, 1, True).fault or "")
    path.write_bytes(whole)
    assert Checkpoint(checkpoint.path, 1, True).fault is None


def test_300_random_bit_flips_are_found_and_named(tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 1, 0.5)
    draw = random.Random(0)
    for flip in range(300):
        path = checkpoint.path / FILES[flip % len(FILES)]
        whole = path.read_bytes()
        harmed = bytearray(whole)
        harmed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(harmed)
        fault = Checkpoint(checkpoint.path, 1, True).fault
        assert fault is not None
        assert path.name in fault
        path.write_bytes(whole)


def test_order_and_rank_come_from_the_manifests(tmp_path: Path) -> None:
    for step, score in ((30, 0.7), (10, 0.9), (20, 0.9)):
        written(tmp_path, step, score)
    written(tmp_path, 40, 0.99, ended=False)
    kept = Checkpoints(tmp_path)
    assert [one.name for one in kept] == ["step-00000010", "step-00000020", "step-00000030", "step-00000040-mid"]
    best, last = kept.best(), kept.last()
    assert best is not None
    assert last is not None
    assert best.name == "step-00000010"
    assert last.name == "step-00000040-mid"
    kept.prune(keep_last=1)
    assert [one.name for one in kept] == ["step-00000010", "step-00000040-mid"]


def test_of_equal_scores_the_lower_loss_is_the_best_and_several_are_kept(tmp_path: Path) -> None:
    results = {10: (0.9, 0.5), 20: (1.0, 0.7), 30: (1.0, 0.2), 40: (1.0, None), 50: (1.0, 0.2), 60: (0.8, 0.1)}
    for step, (score, loss) in results.items():
        written(tmp_path, step, score, loss=loss)
    kept = Checkpoints(tmp_path)
    best = kept.best()
    assert best is not None
    assert best.step == 30
    kept.prune(keep_last=1, keep_best=3)
    assert [one.step for one in kept] == [20, 30, 50, 60]
    kept.prune(keep_last=1, keep_best=1)
    assert [one.step for one in kept] == [30, 60]


def test_manifests_without_a_loss_have_it_from_the_history(tmp_path: Path) -> None:
    for step, loss in ((10, 0.5), (20, 0.4)):
        state = trained_state()
        state.step, state.history = step, History([{"accuracy": 1.0, "loss": loss}])
        path = Checkpoints(tmp_path).write(state, replace(RECORD, history=state.history), GOAL, True).path
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_bytes(
            _seal({name: value for name, value in manifest.items() if name not in ("loss", "sha256")})
        )
    best = Checkpoints(tmp_path).best()
    assert best is not None
    assert (best.fault, best.step) == (None, 20)


def test_a_damaged_one_is_passed_over_and_set_aside(tmp_path: Path) -> None:
    written(tmp_path, 10, 0.5)
    path = written(tmp_path, 20, 0.9).path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    kept = Checkpoints(tmp_path)
    last = kept.last()
    assert last is not None
    assert last.step == 10
    with pytest.raises(NoCheckpoint, match=r"step-00000020: damaged: weights.safetensors: \d+ bytes, written with"):
        kept.named("step-00000020")
    size = path.stat().st_size
    assert kept.set_aside_damaged() == [
        f"{tmp_path}/step-00000020: damaged, set aside as damaged-step-00000020: "
        f"weights.safetensors: {size} bytes, written with {size + 1}"
    ]
    shutil.copytree(tmp_path / "damaged-step-00000020", tmp_path / "step-00000020")
    assert "damaged-step-00000020-2" in Checkpoints(tmp_path).set_aside_damaged()[0]


def test_what_there_is_is_listed(tmp_path: Path) -> None:
    written(tmp_path, 10, 0.5)
    with pytest.raises(
        NoCheckpoint, match=r"no checkpoint 'step-5' that can be used\navailable:\n  step-00000010\nnext"
    ):
        Checkpoints(tmp_path).named("step-5")
    with pytest.raises(NoCheckpoint, match=r"available: none\nnext: run `dltrain fit` again: it has saved none yet"):
        Checkpoints(tmp_path / "nothing").named("best")


def test_no_checkpoint_is_offered_where_all_are_damaged(tmp_path: Path) -> None:
    written(tmp_path, 10, 0.5)
    (tmp_path / "step-00000010" / "state.json").unlink()
    advice = r"\nnext: restore one from a backup, or start another run with `dltrain fit --fresh`$"
    for name, told in (("best", "no checkpoint 'best' that can be used"), ("step-00000010", "damaged: state.json: mi")):
        with pytest.raises(NoCheckpoint, match=f"{told}.*(?s:.*){advice}"):
            Checkpoints(tmp_path).named(name)
    Checkpoints(tmp_path).set_aside_damaged()
    with pytest.raises(NoCheckpoint, match=rf"available:\n  damaged-step-00000010: damaged, set aside{advice}"):
        Checkpoints(tmp_path).named("last")
    written(tmp_path, 20, 0.5)
    with pytest.raises(NoCheckpoint, match=r"next: name one of these with --checkpoint$"):
        Checkpoints(tmp_path).named("step-00000010")


def test_another_format_is_refused(tmp_path: Path) -> None:
    from dltrain.core.checkpoint import _seal

    checkpoint = written(tmp_path, 10, 0.5)
    manifest = {**checkpoint.manifest, "format": 99}
    del manifest["sha256"]
    (checkpoint.path / "manifest.json").write_bytes(_seal(manifest))
    with pytest.raises(
        NoCheckpoint, match=r"written in format 99, and this dltrain reads format 1\nnext: use the version"
    ):
        _ = Checkpoint(checkpoint.path, 10, True).fault
    assert checkpoint.path.is_dir()  # another version's checkpoint is no damaged one


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dltrain.core import checkpoint

    written(tmp_path, 10, 0.5)
    real = checkpoint.write_synced

    def full(path: Path, content: bytes) -> None:
        if path.name == "optimizer.safetensors":
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, 20, 0.6)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


def test_what_may_not_be_read_is_not_taken_for_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = written(tmp_path, 10, 0.5)

    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(NoCheckpoint, match=r"manifest.json: may not be read\nnext: change its permissions"):
        Checkpoints(tmp_path).set_aside_damaged()
    assert checkpoint.path.is_dir()


def test_what_is_used_is_what_was_checked(tmp_path: Path) -> None:
    checkpoint = written(tmp_path, 10, 0.5)
    path = checkpoint.path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(NoCheckpoint, match=r"damaged: weights\.safetensors: not as it was written"):
        checkpoint.weights()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-step-00000001-77").mkdir()
    written(tmp_path, 10, 0.5)
    Checkpoints(tmp_path).remove_unfinished()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


def test_fit_stops_when_no_checkpoint_is_left(
    settings: dict[str, Any], write_settings: Callable[[Mapping[str, Any]], Path], dltrain: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    config = write_settings(settings)
    assert dltrain("fit", config, "-o", "run", "-q").returncode == 0
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    for checkpoint in (tmp_path / "run" / "checkpoints").iterdir():
        (checkpoint / "state.json").unlink()
    for _ in range(2):  # the second time they have been set aside already
        again = dltrain("fit", config, "-o", "run")
        assert again.returncode == 7
        assert "run: none of its checkpoints can be used, all are damaged:\n" in again.stderr
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics


def test_links_are_mended_after_a_kill_between_a_save_and_its_links(
    settings: dict[str, Any], write_settings: Callable[[Mapping[str, Any]], Path], dltrain: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    config = write_settings(settings)
    assert dltrain("fit", config, "-o", "run", "-q").returncode == 0
    right = {name: (tmp_path / "run" / name).readlink() for name in ("best", "last")}
    for name in right:
        (tmp_path / "run" / name).unlink()
        (tmp_path / "run" / name).symlink_to("checkpoints/step-00000001")
    assert dltrain("fit", config, "-o", "run").returncode == 0
    assert {name: (tmp_path / "run" / name).readlink() for name in right} == right


def test_fit_falls_back_to_the_checkpoint_before(
    settings: dict[str, Any], write_settings: Callable[[Mapping[str, Any]], Path], dltrain: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    config = write_settings(settings)
    assert dltrain("fit", config, "-o", "whole", "-q").returncode == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "harmed", symlinks=True)
    path = tmp_path / "harmed" / "checkpoints" / "step-00000040" / "state.json"
    path.write_bytes(path.read_bytes()[:100])
    again = dltrain("fit", config, "-o", "harmed")
    assert again.returncode == 0
    assert (
        "warning: harmed/checkpoints/step-00000040: damaged, set aside as damaged-step-00000040: state.json: "
        in again.stderr
    )
    assert "resuming harmed at step 20, epoch 2\n" in again.stderr
    for name in FILES:
        parts = Path("checkpoints") / "step-00000040" / name
        assert (tmp_path / "harmed" / parts).read_bytes() == (tmp_path / "whole" / parts).read_bytes()
