"""A recorded answer as a FHIR R4 bundle: an Observation, the Device that made it, a preliminary DiagnosticReport.

Resources without a patient: the answer knows pseudonyms of a case and a slide, and says so with identifiers.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from app.diagnosis.report import Answer
from model_zoo.decision import Decision

MEDIA_TYPE = "application/fhir+json"

_UCUM = "http://unitsofmeasure.org"
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_PROBABILITY = "Probability of metastatic tissue in the centre of a histopathology patch"
_DEVIATION = "Largest deviation of the probability when the patch is turned"
_CONCLUSIONS: dict[Decision, str] = {
    "positive": "Metastatic tissue by the model.",
    "negative": "No metastatic tissue by the model.",
    "review": "Not decided by the model: a person must review the patch.",
    "not_assessable": "Not assessable by the model: a person must look at the patch.",
}

Resource = dict[str, Any]


def bundle(answer: Answer) -> Resource:
    """The answer as a Bundle of type ``collection``."""
    device = uuid5(NAMESPACE_URL, f"urn:rosette:model:{answer.model.sha256}")
    report = uuid5(answer.id, "DiagnosticReport")
    entries = ((answer.id, _observation(answer, device)), (device, _device(answer)), (report, _report(answer)))
    return {
        "resourceType": "Bundle",
        "id": str(answer.id),
        "type": "collection",
        "timestamp": _moment(answer),
        "entry": [{"fullUrl": _url(each), "resource": {"id": str(each)} | resource} for each, resource in entries],
    }


def _observation(answer: Answer, device: UUID) -> Resource:
    observation: Resource = {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": {"text": _PROBABILITY},
        "effectiveDateTime": _moment(answer),
        "issued": _moment(answer),
        "interpretation": [{"text": answer.decision}],
        "note": [{"text": reason.text} for reason in answer.reasons] + [{"text": answer.notice}],
        "method": {"text": f"Basis {answer.basis}"},
        "device": {"reference": _url(device)},
    }
    if answer.slide_id is not None:
        observation["specimen"] = {"identifier": {"value": answer.slide_id}}
    if answer.probability is None:
        absent = {"system": _ABSENT, "code": "not-performed", "display": "Not Performed"}
        return observation | {"dataAbsentReason": {"coding": [absent], "text": "The patch is not assessable."}}
    deviation = {"code": {"text": _DEVIATION}, "valueQuantity": _one(answer.consistency.max_deviation)}
    return observation | {"valueQuantity": _one(answer.probability), "component": [deviation]}


def _device(answer: Answer) -> Resource:
    return {
        "resourceType": "Device",
        "identifier": [{"type": {"text": "SHA-256 of the model's artifact"}, "value": answer.model.sha256}],
        "deviceName": [{"name": f"Rosette {answer.model.name}", "type": "model-name"}],
        "version": [{"value": answer.model.version}],
        "type": {"text": "Software that classifies histopathology patches"},
        "note": [{"text": answer.notice}],
    }


def _report(answer: Answer) -> Resource:
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "status": "preliminary",
        "code": {"text": "Classification of a histopathology patch"},
        "effectiveDateTime": _moment(answer),
        "issued": _moment(answer),
        "result": [{"reference": _url(answer.id)}],
        "conclusion": f"{_CONCLUSIONS[answer.decision]} {answer.notice}",
    }
    if answer.case_id is not None:
        report["identifier"] = [{"type": {"text": "Pseudonym of the case"}, "value": answer.case_id}]
    return report


def _one(value: float) -> Resource:
    return {"value": value, "unit": "1", "system": _UCUM, "code": "1"}


def _moment(answer: Answer) -> str:
    return answer.created_at.isoformat(timespec="milliseconds")


def _url(resource: UUID) -> str:
    return f"urn:uuid:{resource}"
