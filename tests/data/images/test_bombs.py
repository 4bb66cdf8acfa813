"""Pictures that state more pixels than fit into memory are refused before they are decoded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dltrain.data.images import pictures
from dltrain.data.images.pictures import PictureFormat, UnreadablePicture, open_picture
from support.commands import call, good
from support.examples import write_config

FORM = PictureFormat(3, 8, 8, "fit")


def write_bomb(path: Path, mode: str, side: int) -> Path:
    """A picture of one colour, some kilobytes long."""
    image = Image.new(mode, (side, side))
    image.save(path, **({"transparency": 0} if mode == "P" else {}))
    return path


@pytest.mark.parametrize(
    ("name", "mode", "most"),
    [("a.png", "RGB", 50), ("b.png", "L", 50), ("c.png", "RGBA", 20), ("d.png", "P", 20), ("e.png", "I;16", 20),
     ("f.jpg", "RGB", 100), ("g.webp", "RGB", 20)],
)  # fmt: skip
def test_the_limit_is_that_of_the_kind(
    name: str, mode: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("MOST_JPEG", "MOST_PLAIN", "MOST"):
        monkeypatch.setattr(pictures, limit, getattr(pictures, limit) / 1e4)  # 100 to 10,000 pixels
    at_limit = int((most * 100) ** 0.5)
    open_picture(write_bomb(tmp_path / name, mode, at_limit), FORM)
    beyond = write_bomb(tmp_path / name, mode, at_limit + 2)
    with pytest.raises(UnreadablePicture, match=r"million pixels; allowed are .* DLTRAIN_MEGAPIXELS"):
        open_picture(beyond, FORM)
    monkeypatch.setenv("DLTRAIN_MEGAPIXELS", "1")
    open_picture(beyond, FORM)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell a process's peak memory")
def test_predict_takes_less_than_a_gigabyte(tmp_path: Path) -> None:
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8), (*colour[:1], 10 * number, colour[2])).save(
                tmp_path / "photos" / name / f"{number}.png"
            )
    data = {"name": "image_folder", "root": str(tmp_path / "photos"), "height": 8, "width": 8, "batch_size": 4}
    model = {"name": "mlp", "hidden": [4]}
    settings = {"task": "image_classification", "data": data, "model": model, "trainer": {"epochs": 1, "device": "cpu"}}
    good("fit", write_config(tmp_path / "c.yaml", settings), "-o", tmp_path / "run", "-q")
    allowed = write_bomb(tmp_path / "allowed.png", "RGBA", 4400)
    refused = write_bomb(tmp_path / "refused.png", "P", 12000)
    code = (  # the peak of this program alone: what getrusage gives begins with the parent's
        "import re, sys\nfrom pathlib import Path\nfrom dltrain.cli.main import run_command\n"
        "try:\n    run_command(sys.argv[1:])\nfinally:\n"
        "    print('peak', re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])"
    )
    words = [sys.executable, "-c", code, "predict", str(tmp_path / "run"), str(allowed), str(refused)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "refused.png" in done.stderr
    assert "million pixels" in done.stderr
    assert int(done.stdout.split("peak ")[1]) < 1_000_000, done.stdout  # KiB
    assert call("predict", tmp_path / "run", refused).exit_code != 0
