"""Answers as FHIR R4, by HL7's own JSON schema (4.0.1), of which ``data/`` has what these resources use."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import jsonschema
import pytest

from app.access.caller import Role
from app.api.fhir import bundle
from app.diagnosis.report import Answer
from tests.app.conftest import RunningServer, answer_of, assert_problem
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft6Validator:
    text = (ROOT / "tests" / "app" / "data" / "fhir-r4.schema.json").read_text(encoding="utf-8")
    return jsonschema.Draft6Validator(json.loads(text))


def resources(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["resource"]["resourceType"]: entry["resource"] for entry in found["entry"]}


def check_references(found: dict[str, Any]) -> None:
    urls = {entry["fullUrl"] for entry in found["entry"]}
    assert urls == {f"urn:uuid:{entry['resource']['id']}" for entry in found["entry"]}
    parts = resources(found)
    assert {parts["Observation"]["device"]["reference"], parts["DiagnosticReport"]["result"][0]["reference"]} < urls


def test_an_answer_is_a_bundle(server: RunningServer, schema: jsonschema.Draft6Validator, png: bytes) -> None:
    parameters = {"case_id": "case-3", "slide_id": "slide-4"}
    answer = server.client.post("/predict", files={"file": png}, params=parameters).json()
    response = server.client.get(f"/predictions/{answer['id']}", params={"format": "fhir"})
    assert response.headers["content-type"] == "application/fhir+json"
    found = response.json()
    schema.validate(found)
    check_references(found)
    parts = resources(found)
    assert parts["Observation"]["valueQuantity"] == {
        "value": answer["probability"],
        "unit": "1",
        "system": "http://unitsofmeasure.org",
        "code": "1",
    }
    assert {parts["Observation"]["status"], parts["DiagnosticReport"]["status"]} == {"preliminary"}
    assert parts["Observation"]["specimen"] == {"identifier": {"value": "slide-4"}}
    assert parts["DiagnosticReport"]["identifier"][0]["value"] == "case-3"
    assert parts["Device"]["identifier"][0]["value"] == answer["model"]["sha256"]
    assert datetime.fromisoformat(found["timestamp"]) == datetime.fromisoformat(answer["created_at"])
    same = server.client.get(f"/predictions/{answer['id']}", params={"format": "json"})
    assert same.json() == answer
    assert_problem(server.client.get(f"/predictions/{answer['id']}?format=xml"), 422, "invalid-parameter")
    with server.new_client(Role.PREDICT) as other:
        url = f"/predictions/{answer['id']}?format=fhir"
        assert_problem(other.get(url), 404, "unknown-prediction")
    assert httpx.get(server.url + url).status_code == 401


@pytest.mark.parametrize("decision", ["positive", "negative", "review", "not_assessable"])
def test_every_decision_is_valid(schema: jsonschema.Draft6Validator, decision: str) -> None:
    changes: dict[str, Any] = {"decision": decision}
    if decision == "not_assessable":
        changes |= {"probability": None, "label": None}
    answer: Answer = answer_of(datetime.now(UTC), **changes)
    found = bundle(answer)
    schema.validate(found)
    check_references(found)
    observation = resources(found)["Observation"]
    assert ("valueQuantity" in observation) != ("dataAbsentReason" in observation)
    assert answer.notice in resources(found)["DiagnosticReport"]["conclusion"]


def test_the_schema_refuses_what_is_not_fhir(schema: jsonschema.Draft6Validator) -> None:
    good = bundle(answer_of(datetime.now(UTC)))
    for name, value in (("status", "bogus"), ("valueQuantity", {"value": "0.5"}), ("patient", {})):
        bad = copy.deepcopy(good)
        resources(bad)["Observation"][name] = value
        assert not schema.is_valid(bad)
