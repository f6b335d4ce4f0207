#!/usr/bin/env bash
# fhir.resources 8.3.0: what its models check, and which FHIR release the plain import means.
#
# One expects a model class of a FHIR library to check the required codes, and the plain import to mean R4, which most servers speak.
# Observation accepts the status "nonsense", although the field's own metadata lists the permitted values (enum_values).
# It is not lax throughout: a missing status and an unknown field are both refused.
# The plain import is R5: DiagnosticReport refuses imagingStudy, R4's field, because R5 renamed it to study.
# The same JSON passes with the class of the R4B subpackage, and there is no R4 subpackage at all.
# It matters for a pathology result sent to an R4 server: validation here passes codes that the server refuses,
# and a correct R4 report is refused here as long as the import does not name the release.
# Output seen: "status nonsense: accepted", "R5 refuses imagingStudy: [('imagingStudy', 'extra_forbidden')]", "R4B: accepted".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fhir.resources==8.3.0 pydantic==2.14.4

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.util import find_spec

from fhir.resources.diagnosticreport import DiagnosticReport
from fhir.resources.observation import Observation
from fhir.resources.R4B.diagnosticreport import DiagnosticReport as DiagnosticReportR4B
from pydantic import ValidationError

code = {"coding": [{"system": "urn:oid:2.16.840.1.113883.6.1", "code": "60568-3"}]}


def problems(model, **fields):
    try:
        model.model_validate({"resourceType": model.__name__, "code": code, **fields})
    except ValidationError as error:
        return [(e["loc"][0], e["type"]) for e in error.errors()]
    return []


assert "final" in Observation.model_fields["status"].json_schema_extra["enum_values"]
assert problems(Observation, status="nonsense") == [], "the status is checked now: the behaviour has changed"
print("status nonsense: accepted")
missing, unknown = problems(Observation), problems(Observation, status="final", nonsense=1)
print("status missing:", missing, "; unknown field:", unknown)
assert [name for name, _ in missing] == ["status"]
assert unknown == [("nonsense", "extra_forbidden")]

study = [{"reference": "ImagingStudy/1"}]
refused = problems(DiagnosticReport, status="final", imagingStudy=study)
print("R5 refuses imagingStudy:", refused)
assert refused == [("imagingStudy", "extra_forbidden")], "the plain import may no longer be R5"
assert problems(DiagnosticReport, status="final", study=study) == []
assert problems(DiagnosticReportR4B, status="final", imagingStudy=study) == []
print("R4B: accepted")
assert find_spec("fhir.resources.R4") is None, "there is an R4 subpackage now"
PYTHON
