"""Series whose numbers have decimal commas, and fields between semicolons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dltrain.data.series.dataset import SeriesWindows
from dltrain.data.series.reader import SeriesReader
from dltrain.errors import DataError


def test_decimal_commas_of_a_series(tmp_path: Path) -> None:
    values = np.round(np.sin(np.arange(60) / 5) * 1500, 2)
    text = "t;v\n" + "".join(
        f"{t};{v:,.2f}\n".replace(",", "_").replace(".", ",").replace("_", ".") for t, v in enumerate(values)
    )
    (tmp_path / "s.csv").write_text(text)
    (tmp_path / "plain.csv").write_text("t,v\n" + "".join(f"{t},{v}\n" for t, v in enumerate(values)))
    found, plain = (
        SeriesWindows("s", 0, None, file=file, root=str(tmp_path), time="t", window=4)
        for file in ("s.csv", "plain.csv")
    )
    assert np.array_equal(found.series.values[:, 0], values)
    assert [each.option for each in found.summarize().treatments] == ["data.separator", "data.decimal"]
    assert "formats" not in plain.assets
    (read,) = SeriesReader(found.assets).read([str(tmp_path / "s.csv")], iter(()))
    (same,) = SeriesReader(plain.assets).read([str(tmp_path / "plain.csv")], iter(()))
    assert np.array_equal(np.asarray(read.value), np.asarray(same.value))
    (tmp_path / "new.csv").write_text("t;v\n" + "".join(f"{t};1.5\n" for t in range(5)))
    (wrong,) = SeriesReader(found.assets).read([str(tmp_path / "new.csv")], iter(()))
    assert "line 2, column 'v': '1.5' is not a number with a decimal comma" in str(wrong.value)


def test_an_open_decimal_mark_of_a_series(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("a;b\n" + "".join(f"{t};1,{t}\n" for t in range(100, 160)))
    with pytest.raises(DataError, match=r"column 'b' \(such as '1,100'\)"):
        SeriesWindows("s", 0, None, file="s.csv", root=str(tmp_path), window=4)
