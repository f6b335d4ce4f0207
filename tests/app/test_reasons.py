"""Reasons as data: code, value, limit, and a text from one place."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, insert

from app.diagnosis import past
from app.records.filters import Filter
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.records.tables import predictions
from model_zoo.manifest import Manifest
from model_zoo.network import Network
from model_zoo.orbit import Rotations
from model_zoo.reasons import DECISION_OF, Code, codes, reason
from model_zoo.synthetic import synthetic_patch
from tests.app.conftest import RunningServer, answer_of, assert_problem, encoded, row_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PNG = {"Content-Type": "image/png"}


@pytest.mark.parametrize("code", [code for code in get_args(Code) if code != "other"])
def test_every_text_states_its_figures(code: Code) -> None:
    limit = (0.226124, 0.616791) if code == "review_band" else 0.616791
    text = reason(code, 0.404350, limit).text
    assert text[0].isupper()
    assert text.endswith(".")
    if code != "no_tissue":
        assert "0.404" in text
        assert "0.617" in text
    assert ("0.226" in text) == (code == "review_band")
    assert "None" not in reason(code).text


def test_a_reason_is_one_of_the_codes() -> None:
    with pytest.raises(ValidationError):
        answer_of(NOW, reasons=[{"code": "whatever", "value": None, "limit": None, "text": "-"}])


def test_a_row_has_each_code_once() -> None:
    found = [reason("tissue", 0.0, 0.1), reason("no_tissue"), reason("tissue", 0.0, 0.1)]
    assert codes(found) == "tissue no_tissue"
    assert codes([]) == ""
    longest = " ".join(get_args(Code))
    assert len(longest) <= predictions.c.reason_codes.type.length  # type: ignore[attr-defined]


def test_an_answer_of_today_is_handed_out_as_it_is() -> None:
    text = answer_of(NOW, reasons=[reason("stain", 9.0, 4.0)]).model_dump_json()
    assert past.current(text) is text


def test_the_filter_tells_tissue_from_no_tissue(database: Engine) -> None:
    """No code is found within another one, and no wildcard in one matches others."""
    migrate(database)
    rows = []
    for code in get_args(Code):
        value = {"decision": DECISION_OF.get(code, "review"), "reason_codes": code}
        rows.append(row_of(answer_of(NOW), Rotations.FULL, "key") | value)
    both = {"decision": "not_assessable", "reason_codes": "tissue sharpness no_tissue"}
    rows += [row_of(answer_of(NOW), Rotations.FULL, "key") | both, row_of(answer_of(NOW), Rotations.FULL, "key")]
    with database.begin() as connection:
        connection.execute(insert(predictions), rows)
    log = PredictionLog(database)

    def found(code: str) -> list[str]:
        columns = (predictions.c.reason_codes,)
        return sorted(each.reason_codes for each in log.rows(columns, 100, Filter(reason=code)))

    for code in get_args(Code):
        expected = [code] + (["tissue sharpness no_tissue"] if code in {"tissue", "sharpness", "no_tissue"} else [])
        assert found(code) == sorted(expected)
    assert found("%") == found("_") == found("review%") == []


def test_sqlite_finds_reasons_in_an_index(sqlite: Engine) -> None:
    migrate(sqlite)
    said: list[str] = []
    with sqlite.connect() as connection:
        connection.connection.driver_connection.set_trace_callback(said.append)  # type: ignore[union-attr]
    PredictionLog(sqlite).page(50, Filter(reason="turning"))
    [query] = [text for text in said if "reason_codes" in text]
    with sqlite.connect() as connection:
        [plan] = [each.detail for each in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert "USING INDEX ix_predictions_decision_id (decision=?)" in plan


def counted(running: RunningServer, code: str) -> float:
    name = f'rosette_reasons_total{{reason="{code}"}} '
    [line] = [line for line in running.services.metrics.text().decode().splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


def expected_codes(answer: dict[str, Any], manifest: Manifest) -> list[str]:
    """From the answer's own figures."""
    quality, bounds = answer["quality"], manifest.quality
    low, high = manifest.review_band
    if answer["probability"] is not None:
        found = {
            "review_band": low <= answer["probability"] <= high,
            "turning": answer["consistency"]["max_deviation"] > answer["consistency"]["limit"],
        }
    else:
        stain = quality["stain_distance"]
        found = {
            "tissue": quality["tissue_fraction"] < bounds.min_tissue_fraction,
            "sharpness": quality["sharpness"] < bounds.min_sharpness,
            "no_tissue": stain is None,
            "stain": stain is not None and stain > bounds.max_stain_distance,
        }
    return [code for code, applies in found.items() if applies]


def test_answers_filters_and_metrics_use_the_codes(server: RunningServer, network: Network) -> None:
    before = {code: counted(server, code) for code in get_args(Code)}
    found: dict[str, list[str]] = {code: [] for code in get_args(Code)}
    patches = [synthetic_patch(kind, seed) for kind in ("tumour", "normal") for seed in range(8)]
    for pixels in [np.full((96, 96, 3), 243, np.uint8), *patches]:
        about = {"case_id": "reasons", "rotations": "full"}
        answer = server.client.post("/predict", params=about, content=encoded(pixels), headers=PNG).json()
        codes_found = [each["code"] for each in answer["reasons"]]
        assert codes_found == expected_codes(answer, network.manifest)
        for code in codes_found:
            found[code].append(answer["id"])
    assert {code: counted(server, code) - before[code] for code in before} == {
        code: len(ids) for code, ids in found.items()
    }
    assert found["review_band"]
    assert found["no_tissue"]
    for code, ids in found.items():
        wanted = {"reason": code, "case_id": "reasons"}
        page = server.client.get("/predictions", params=wanted).json()["predictions"]
        assert [each["id"] for each in page[::-1]] == ids
    assert_problem(server.client.get("/predictions", params={"reason": "turns"}), 422, "invalid-parameter")


def test_the_description_shows_the_new_shape_alone(server: RunningServer) -> None:
    schemas = server.client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["Answer"]["properties"]["reasons"]["items"] == {"$ref": "#/components/schemas/Reason"}
    assert set(schemas["Reason"]["required"]) == {"code", "value", "limit", "text"}
    assert set(schemas["Reason"]["properties"]["code"]["enum"]) == set(get_args(Code))
    for name in ("basis", "orbit_logits", "shifts"):
        assert name in schemas["Answer"]["properties"]
