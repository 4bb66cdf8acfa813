"""torchvision and torchaudio work beside the torch that is here, whatever their wheels were built for."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from types import ModuleType

import pytest

from dltrain.errors import UsageError
from dltrain.runtime import cuda_wheels


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def run(code: str) -> str:
    """What the code prints in an interpreter of its own: an import can be tried only once in each."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
@needs("torchvision")
def test_torchvision_transforms_data_sets_and_models_work() -> None:
    code = """
import pathlib, struct, tempfile
import torch
from dltrain.runtime.cuda_wheels import import_torchvision
torchvision = import_torchvision()
assert import_torchvision() is torchvision
import torchvision as again
assert again is torchvision
from torchvision.transforms import v2
image = torch.arange(2 * 8 * 8).view(2, 8, 8).float()
assert torch.equal(v2.functional.horizontal_flip(image), image.flip(2))
assert v2.Compose([v2.RandomCrop(4), v2.Normalize([0.5, 0.5], [2.0, 2.0])])(image).shape == (2, 4, 4)
with tempfile.TemporaryDirectory() as root:
    raw = pathlib.Path(root, "MNIST", "raw")
    raw.mkdir(parents=True)
    for name in ("train", "t10k"):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, 2, 2, 3) + bytes(range(12)))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, 2) + bytes((7, 1)))
    data = torchvision.datasets.MNIST(root)
    assert data.data.flatten().tolist() == list(range(12)) and data.targets.tolist() == [7, 1]
with torch.no_grad():
    assert torchvision.models.resnet18().eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
print("works")
"""
    assert run(code) == "works"


@pytest.mark.slow
@needs("torchaudio")
def test_torchaudio_features_and_masking_work() -> None:
    code = """
import torch
from dltrain.runtime.cuda_wheels import import_torchaudio
torchaudio = import_torchaudio()
assert import_torchaudio() is torchaudio
import torchaudio as again
assert again is torchaudio
tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
mel = torchaudio.transforms.MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=40)(tone)
assert mel.shape == (40, 101)
points = torchaudio.functional.melscale_fbanks(201, 0.0, 8000.0, 40, 16000)[25]  # the bin of 1000 Hz
assert mel[:, 50].argmax() == points.argmax()
masked = torchaudio.functional.mask_along_axis(torch.ones(1, 40, 101), 20, 0.0, 1)
assert set(masked.unique().tolist()) <= {0.0, 1.0}
halved = torchaudio.functional.lfilter(tone[:8], torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.0]))
assert halved.allclose(tone[:8] / 2)
print("works")
"""
    assert run(code) == "works"


@needs("torchaudio")
def test_what_needs_torchaudios_extension_says_so() -> None:
    extension = cuda_wheels._absent_extension()

    @extension.fail_if_no_align
    def forced_align() -> None: ...

    with pytest.raises(RuntimeError, match="forced_align needs torchaudio's compiled extension, which does not load"):
        forced_align()
    assert extension._load_lib("anything") is False
    assert extension._check_cuda_version() is None


@pytest.mark.parametrize(
    ("package", "extra", "load"),
    [
        ("torchvision", "vision", cuda_wheels.import_torchvision),
        ("torchaudio", "audio", cuda_wheels.import_torchaudio),
    ],
)
class TestFailures:
    def test_a_package_that_is_not_installed(
        self, package: str, extra: str, load: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_with(ModuleNotFoundError(f"No module named '{package}'", name=package), monkeypatch)
        with pytest.raises(
            UsageError, match=rf"{package} is not installed. Install it with: pip install 'dltrain\[{extra}\]'"
        ):
            load()  # type: ignore[operator]

    def test_a_package_that_lacks_another(
        self, package: str, extra: str, load: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_with(ModuleNotFoundError("No module named 'PIL'", name="PIL"), monkeypatch)
        with pytest.raises(ModuleNotFoundError, match="PIL"):
            load()  # type: ignore[operator]

    @pytest.mark.parametrize("error", [RuntimeError("another reason"), OSError("another reason")])
    def test_any_other_failure_is_left_as_it_is(
        self, package: str, extra: str, load: object, error: Exception, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.fail_with(error, monkeypatch)
        with pytest.raises(type(error), match="another reason"):
            load()  # type: ignore[operator]

    def fail_with(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        def import_module(name: str) -> ModuleType:
            raise error

        monkeypatch.setattr(importlib, "import_module", import_module)
