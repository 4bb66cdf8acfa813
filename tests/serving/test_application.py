"""The application that `dltrain serve` runs: what it answers equals what `dltrain predict` prints."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from dltrain.runs.finding import find_checkpoint  # noqa: E402
from dltrain.runs.loading import load_trained  # noqa: E402
from dltrain.serving.application import ServerState, build_application  # noqa: E402
from dltrain.serving.batching import Batcher, Overloaded  # noqa: E402
from dltrain.serving.services import make_service  # noqa: E402
from support.commands import good, train_bars  # noqa: E402
from support.images import write_images  # noqa: E402

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def iris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("iris") / "run"
    good("fit", "iris_dense", "--epochs", 3, "-o", run)
    return run


def opened(run: Path, *, size: int = 1_000_000, state: ServerState | None = None) -> Ask:
    """Sends requests to the application in this process, several at a time where several are given."""
    trained = load_trained(find_checkpoint(run, None))
    service = make_service(run, trained)
    app = build_application(trained, service, size=size, state=state)

    def ask(method: str, path: str, *requests: dict[str, Any]) -> Any:
        async def send() -> Sequence[Any]:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
                return await asyncio.gather(*(client.request(method, path, **one) for one in requests or ({},)))

        found = asyncio.run(send())
        return found if len(requests) > 1 else found[0]

    ask.service = service  # type: ignore[attr-defined]
    return ask


def printed(*words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in good("predict", *words, "--json").stdout.splitlines()]


def test_rows_as_json_and_as_a_file_get_what_predict_prints(iris: Path, tmp_path: Path) -> None:
    ask = opened(iris)
    names = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
    rows = [[5.1, 3.5, 1.4, 0.2], [5.9, 3.0, 5.1, 1.8]]
    table = tmp_path / "flowers.csv"
    table.write_text("\n".join(",".join(map(str, row)) for row in [names, *rows]) + "\n")
    expected = printed(iris, table, "--top", 2)
    objects = [dict(zip(names, row, strict=True)) for row in rows]
    for inputs in (rows, objects):
        answer = ask("POST", "/predict", {"json": {"inputs": inputs, "top": 2}})
        assert answer.status_code == 200
        assert [one["labels"] for one in answer.json()["predictions"]] == [one["labels"] for one in expected]
    files = {"file": ("flowers.csv", table.read_bytes())}
    answer = ask("POST", "/predict", {"files": files, "data": {"top": "2"}})
    found = answer.json()["predictions"]
    assert found == [{**one, "input": Path(one["input"]).name} for one in expected]


def test_the_example_that_a_model_shows_can_be_sent(iris: Path) -> None:
    ask = opened(iris)
    described = ask("GET", "/").json()["POST /predict"]
    assert described["labels"] == ["setosa", "versicolor", "virginica"]
    assert ask("POST", "/predict", {"json": described["example"]}).status_code == 200
    curl = {
        "content": json.dumps(described["example"]),
        "headers": {"content-type": "application/x-www-form-urlencoded"},
    }
    assert ask("POST", "/predict", curl).status_code == 200
    assert ask("GET", "/health").json()["status"] == "ok"


def test_images_as_files_and_as_json_get_what_predict_prints(tmp_path: Path) -> None:
    from PIL import Image

    run = train_bars(tmp_path, write_images(tmp_path / "data"), model="{name: mlp, hidden: [8]}", epochs=1)
    for number in range(3):
        Image.effect_noise((28, 28), 20 + 40 * number).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    expected = printed(run, *paths)
    ask = opened(run)
    files = [("file", (path.name, path.read_bytes())) for path in paths]
    answer = ask("POST", "/predict", {"files": files}).json()
    assert answer["predictions"] == [{**one, "file": Path(one["file"]).name} for one in expected]
    inputs = [base64.b64encode(path.read_bytes()).decode() for path in paths]
    coded = ask("POST", "/predict", {"json": {"inputs": inputs}}).json()["predictions"]
    assert [one["labels"] for one in coded] == [one["labels"] for one in expected]
    broken = ask("POST", "/predict", {"files": [("file", ("broken.png", b"no image")), files[0]]})
    assert broken.status_code == 422
    assert broken.json()["message"].startswith("broken.png: ")
    assert broken.json()["predictions"][1] == answer["predictions"][0]
    example = ask("GET", "/").json()["POST /predict"]["example"]
    assert ask("POST", "/predict", {"json": example}).status_code == 200


def test_series_and_texts_get_what_predict_prints(tmp_path: Path) -> None:
    series = tmp_path / "series.csv"
    series.write_text("value\n" + "".join(f"{number % 7}.5\n" for number in range(60)))
    config = {
        "task": "sequence_regression",
        "data": {"name": "series", "root": str(tmp_path), "file": "series.csv", "window": 8, "target": ["value"]},
        "model": {"name": "autoregression"},
        "trainer": {"epochs": 1, "device": "cpu"},
    }
    (tmp_path / "series.yaml").write_text(json.dumps(config))
    good("fit", tmp_path / "series.yaml", "-o", tmp_path / "series")
    values = [float(line) for line in series.read_text().split()[1:]]
    ask = opened(tmp_path / "series")
    (expected,) = printed(tmp_path / "series", series)
    inputs = [{"value": values}, [[value] for value in values], values, [{"value": value} for value in values]]
    answer = ask("POST", "/predict", {"json": {"inputs": inputs}})
    assert answer.status_code == 200, answer.text
    assert [one["estimates"] for one in answer.json()["predictions"]] == [pytest.approx(expected["estimates"])] * 4
    assert ask("POST", "/predict", {"json": ask("GET", "/").json()["POST /predict"]["example"]}).status_code == 200

    good("fit", "text_classification", "--sample", "--epochs", 1, "-o", tmp_path / "texts")
    (expected,) = printed(tmp_path / "texts", "How do I open a file?")
    answer = opened(tmp_path / "texts")("POST", "/predict", {"json": {"inputs": ["How do I open a file?"]}})
    assert answer.json()["predictions"][0]["labels"] == expected["labels"]


def test_a_language_model_continues_a_prompt(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat\n" * 200)
    config = {
        "task": {"name": "language_modelling", "samples": 0},
        "data": {"name": "text", "root": str(tmp_path), "training": ["text.txt"], "batch_size": 4},
        "model": {"name": "rnn", "hidden": 8},
        "trainer": {"epochs": 1, "device": "cpu"},
    }
    (tmp_path / "text.yaml").write_text(json.dumps(config))
    good("fit", tmp_path / "text.yaml", "-o", tmp_path / "run")
    words = ["generate", tmp_path / "run", "--prompt", "the", "--max-tokens", 9, "--seed", 4, "--json"]
    expected = json.loads(good(*words).stdout)
    ask = opened(tmp_path / "run")
    asked = {"prompt": "the", "max_tokens": 9, "seed": 4}
    answer = ask("POST", "/generate", {"json": asked})
    assert answer.json()["texts"] == [{name: expected[name] for name in ("prompt", "text", "ended")}]
    unknown = ask("POST", "/generate", {"json": {**asked, "prompt": "dog"}})
    assert "dog" in unknown.json()["notes"][0]
    for wrong in ({"max_tokens": 10**7}, {"temperature": "hot"}, {"stop": "a"}, {"prompt": 1}, {"top_p": 7}):
        assert ask("POST", "/generate", {"json": wrong}).status_code == 400


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "the body is not JSON"),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, "the body is not JSON"),
        ({"content": b"x", "headers": {"content-type": "text/csv"}}, 415, "content type: found 'text/csv'"),
        ({"json": [1]}, 400, "the body is a list"),
        ({"json": {"rows": [[1, 2, 3, 4]]}}, 400, "unknown key 'rows'; allowed: inputs, top"),
        ({"json": {"inputs": 1}}, 400, "inputs: found int"),
        ({"json": {"inputs": []}}, 400, "the request has no rows"),
        ({"json": {"inputs": [[1, 2, 3, 4]], "top": 0}}, 400, "top: found 0"),
        ({"json": {"inputs": [[1, 2]]}}, 422, "input 0: found a row of 2 cells; the model reads 4"),
        ({"json": {"inputs": [[1, 2, 3, [4]]]}}, 422, "input 0: column 'petal width (cm)': found list"),
        ({"json": {"inputs": [[10**400, 2, 3, 4]]}}, 422, ""),
        ({"json": {"inputs": [[1, 2, 3, None]]}}, 422, ""),
        ({"json": {"inputs": [{"a": 1}]}}, 422, "the rows given: no column 'sepal length (cm)'"),
        ({"files": {"file": ("rows.csv.gz", b"x")}}, 422, "rows.csv.gz: allowed are files that end with .csv"),
        ({"files": {"file": ("../rows.csv", b"\0\xff")}}, 422, "rows.csv"),
    ],
)
def test_a_bad_request_is_answered_with_a_message(
    iris: Path, request_: dict[str, Any], status: int, message: str
) -> None:
    answer = opened(iris)("POST", "/predict", request_)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["message"]
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("inputs", [["secret.csv"], [["secret.csv"]], [["secret.csv"] * 4], "secret.csv"])
def test_a_client_cannot_name_files_of_the_server(
    iris: Path, inputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    head = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)"
    Path("secret.csv").write_text(f"{head}\n5,3,1,0.2\n")
    answer = opened(iris)("POST", "/predict", {"json": {"inputs": inputs}})
    assert answer.status_code in (400, 422)
    assert "secret.csv:" not in answer.text


def test_large_requests_are_refused(iris: Path) -> None:
    ask = opened(iris, size=1000)

    async def pieces() -> Any:
        for _ in range(30):
            yield b" " * 100

    for content in (b" " * 3000, pieces()):
        answer = ask("POST", "/predict", {"content": content, "headers": {"content-type": "application/json"}})
        assert (answer.status_code, answer.json()["message"]) == (413, "the request is too large; allowed are 0.001 MB")
    files = {"file": ("rows.csv", b"1" * 3000)}
    assert ask("POST", "/predict", {"files": files}).status_code == 413
    assert ask("GET", "/nowhere").json()["advice"] == "allowed are GET /, GET /health and POST /predict"


def test_a_stopping_server_refuses_new_requests(iris: Path) -> None:
    state = ServerState()
    ask = opened(iris, state=state)
    state.stopping = True
    answer = ask("GET", "/health")
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")


def test_requests_that_arrive_together_are_computed_together_and_get_their_own_answers(iris: Path) -> None:
    ask = opened(iris)
    rows = [[4 + number / 20, 3.0, number / 10, 0.2] for number in range(60)]
    answers = ask("POST", "/predict", *({"json": {"inputs": [row], "top": 3}} for row in rows))
    assert ask.service.batcher.batches < 30  # type: ignore[attr-defined]
    together = ask("POST", "/predict", {"json": {"inputs": rows, "top": 3}}).json()["predictions"]
    for answer, one in zip(answers, together, strict=True):
        (found,) = answer.json()["predictions"]
        assert [each["label"] for each in found["labels"]] == [each["label"] for each in one["labels"]]
        values = [each["probability"] for each in found["labels"]]
        assert values == pytest.approx([each["probability"] for each in one["labels"]], abs=1e-6)


def test_a_batcher_fills_batches_isolates_failures_and_finishes_before_it_closes() -> None:
    gate, seen = threading.Event(), []

    def double(values: list[int]) -> list[int]:
        gate.wait(10)
        seen.append(list(values))
        if 13 in values:
            raise ValueError("13")
        return [2 * value for value in values]

    batcher = Batcher(double, wait=0.2, size=4, limit=7)
    jobs: list[Future[Any]] = [batcher.submit([number]) for number in (1, 2, 13, 4)]
    while batcher.waiting:
        pass
    jobs += [batcher.submit([5, 6, 7]), batcher.submit([8, 9]), batcher.run(lambda: "called"), batcher.submit([10])]
    for _ in range(3):
        batcher.submit([0])
    with pytest.raises(Overloaded):
        batcher.submit([0])
    gate.set()
    batcher.close()
    assert all(job.done() for job in jobs)
    assert [jobs[place].result() for place in (0, 1, 3, 4, 5, 6, 7)] == [
        [2],
        [4],
        [8],
        [10, 12, 14],
        [16, 18],
        "called",
        [20],
    ]
    with pytest.raises(ValueError, match="13"):
        jobs[2].result()
    assert seen[:6] == [[1, 2, 13, 4], [1], [2], [13], [4], [5, 6, 7]]
