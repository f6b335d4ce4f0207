"""What can be asked, as flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import quote
from uuid import uuid4

import httpx

from rosette_client.answers import Answer, Page, answer_of
from rosette_client.flows import PASSING, Flow, Patience, exchange
from rosette_client.images import Image, encoded
from rosette_client.problems import Problem, problem_of

Rotations = Literal["full", "exact", "all", "none"]
Shifts = Literal["none", "report"]
Occlusion = Literal["none", "report"]
Verdict = Literal["agree", "disagree", "unsure"]
Progress: TypeAlias = Callable[[int, int], None]
Result: TypeAlias = Answer | Problem

MAX_BATCH = 256
MAX_BYTES = 12_000_000  # the server's default limit is 16 MB, with the form around the files

_KEY = "Idempotency-Key"


class Requests:
    """Builds requests and reads responses; the clients send them.

    Args:
        http: only builds requests here.
        patience_s: seconds for which a request is repeated.
    """

    def __init__(self, http: httpx.Client | httpx.AsyncClient, patience_s: float) -> None:
        self._http = http
        self._patience_s = patience_s

    def predict(self, image: Image, idempotency_key: str | None, **parameters: Any) -> Flow[Answer]:
        headers = {_KEY: idempotency_key or uuid4().hex, "Content-Type": "application/octet-stream"}
        request = self._http.build_request(
            "POST", "/predict", content=encoded(image), params=_given(parameters), headers=headers
        )
        response = yield from self._exchange(request)
        return answer_of(response.json())

    def predict_batch(
        self, images: Sequence[Image], batch: int, progress: Progress | None, **parameters: Any
    ) -> Flow[list[Result]]:
        if not 1 <= batch <= MAX_BATCH:
            raise ValueError(f"batch is {batch}, expected 1 to {MAX_BATCH}")
        results: list[Result] = []
        for files in _batches(images, batch):
            results += yield from self._batch(files, _given(parameters), len(results))
            if progress is not None:
                progress(len(results), len(images))
        return results

    def _batch(self, files: list[bytes], parameters: dict[str, Any], before: int) -> Flow[list[Result]]:
        """One request, repeated while the server is too busy for one of its patches; the others keep their answers."""
        patience, headers = Patience.of(self._patience_s), {_KEY: uuid4().hex}
        while True:
            form = [("file", (f"{index}", file)) for index, file in enumerate(files)]
            request = self._http.build_request("POST", "/predict/batch", files=form, params=parameters, headers=headers)
            response = yield from exchange(request, patience)
            results = [_result(raw, before) for raw in response.json()["results"]]
            busy = any(isinstance(result, Problem) and result.status in PASSING for result in results)
            if not busy or (seconds := patience.wait()) is None:
                return results
            yield seconds

    def prediction(self, prediction_id: str) -> Flow[Answer]:
        response = yield from self._exchange(self._http.build_request("GET", _path(prediction_id)))
        return answer_of(response.json())

    def patch(self, prediction_id: str) -> Flow[bytes]:
        response = yield from self._exchange(self._http.build_request("GET", f"{_path(prediction_id)}/patch"))
        return response.content

    def page(self, limit: int, cursor: str | None, **filters: Any) -> Flow[Page]:
        parameters = _given({"limit": limit, "cursor": cursor} | filters)
        response = yield from self._exchange(self._http.build_request("GET", "/predictions", params=parameters))
        raw = response.json()
        return Page([answer_of(each) for each in raw["predictions"]], raw["next"])

    def review(self, prediction_id: str, verdict: Verdict, note: str | None) -> Flow[dict[str, Any]]:
        request = self._http.build_request(
            "POST", f"{_path(prediction_id)}/reviews", json=_given({"verdict": verdict, "note": note})
        )
        # Without repeats: it has no Idempotency-Key.
        response = yield from exchange(request, Patience.of(0))
        raw: dict[str, Any] = response.json()
        return raw

    def _exchange(self, request: httpx.Request) -> Flow[httpx.Response]:
        return exchange(request, Patience.of(self._patience_s))


def _given(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def _batches(images: Sequence[Image], batch: int) -> Iterator[list[bytes]]:
    files: list[bytes] = []
    for file in map(encoded, images):
        if files and (len(files) == batch or sum(map(len, files)) + len(file) > MAX_BYTES):
            yield files
            files = []
        files.append(file)
    if files:
        yield files


def _result(raw: dict[str, Any], before: int) -> Result:
    if "decision" in raw:
        return answer_of(raw)
    return problem_of(raw | {"index": before + raw["index"]})


def _path(prediction_id: str) -> str:
    """Of one answer; an id that is none leads to no other route."""
    return f"/predictions/{quote(prediction_id, safe='').replace('.', '%2E')}"


def bearer(key: str) -> dict[str, str]:
    """The header that holds the key.

    Raises:
        ValueError: if a header cannot hold it; the key is not told.
    """
    if not key or not key.isascii() or not key.isprintable():
        raise ValueError("The key is empty, or has characters that no key has, such as the end of a line: strip it.")
    return {"Authorization": f"Bearer {key}"}
