"""What the DICOM objects of a run have in common: identifiers, equipment, times and codes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from typing import Any
from uuid import UUID, uuid5

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID

from slides.export.dicom_source import Source
from slides.runfile import Run

MANUFACTURER = "Rosette"
SCHEME = "99ROSETTE"
PROCESSING_EQUIPMENT = codes.DCM.ProcessingEquipment
NO_UNITS = codes.UCUM.NoUnits
PROBABILITY = codes.DCM.Probability
METASTASIS = codes.SCT.Metastasis
MOST_LONG_STRING = 64

_FORMAT = "1"  # raise it when the same run gives other objects
_NAMESPACE = UUID("5f0f1f5e-6d0d-5a0c-9d1d-3c1d5f7a9b6e")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)")


def own_code(value: str, meaning: str) -> Code:
    """A code of Rosette's own scheme, for what has no standard one."""
    return Code(value, SCHEME, meaning)


def uid_of_uuid(value: UUID) -> UID:
    return UID(f"2.25.{value.int}")


def long_string(text: str) -> str:
    """As a value of LO: ASCII without backslash, which separates values; at most 64 characters."""
    plain = "".join(each if " " <= each <= "~" and each != "\\" else "_" for each in text)
    return plain.strip()[:MOST_LONG_STRING] or "_"


@dataclass(frozen=True, eq=False)
class Objects:
    """Attributes of the objects that are made of one run and one source.

    The same run, source and rule give the same identifiers and the same bytes.
    """

    run: Run
    source: Source

    def uid(self, *what: str) -> UID:
        """The identifier of a part of this run: a UUID below 2.25 (PS3.5, B.2)."""
        told = self.run.model_dump_json(exclude={"started_at": True, "finished_at": True, "slide": {"name"}})
        image = self.source.dataset
        parts = _FORMAT, version("rosette-pathology"), told, image.SOPInstanceUID, image.StudyInstanceUID, *what
        return uid_of_uuid(uuid5(_NAMESPACE, sha256("\0".join(parts).encode()).hexdigest()))

    @property
    def device_uid(self) -> UID:
        """Of the artifact, as the device that observed; the same in all runs with it."""
        return uid_of_uuid(uuid5(_NAMESPACE, self.run.model.sha256))

    @property
    def equipment(self) -> dict[str, Any]:
        model = self.run.model
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": long_string(f"{model.name} {model.version}"),
            "device_serial_number": model.sha256,
            "software_versions": [
                long_string(f"{model.name} {model.version}"),
                long_string(f"rosette {version('rosette-pathology')}"),
            ],
        }

    @property
    def finished_at(self) -> datetime:
        """When the run was complete, in the source's offset from UTC, or in UTC where it states none."""
        return (self.run.finished_at or self.run.started_at).astimezone(_offset(self.source.dataset))

    def bytes_of(self, made: Dataset) -> bytes:
        """The file, with the run's times in place of the present, so that equal exports have equal bytes."""
        image = self.source.dataset
        at = self.finished_at
        made.ContentDate, made.ContentTime = f"{at:%Y%m%d}", f"{at:%H%M%S}"
        del made.InstanceCreationDate, made.InstanceCreationTime
        for equipment in made.ContributingEquipmentSequence:
            if equipment.PurposeOfReferenceCodeSequence[0] == PROCESSING_EQUIPMENT:
                equipment.ContributionDateTime = f"{at:%Y%m%d%H%M%S%z}"
        if image.get("TimezoneOffsetFromUTC") or not (image.StudyDate or image.StudyTime):
            made.TimezoneOffsetFromUTC = f"{at:%z}"
        content = BytesIO()
        made.save_as(content)
        return content.getvalue()


def own_scheme() -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(SCHEME, name="Rosette", responsible_organization="The Rosette authors")


def _offset(image: Dataset) -> timezone:
    stated = _OFFSET.fullmatch(str(image.get("TimezoneOffsetFromUTC", "")).strip())
    if stated is None:
        return UTC
    sign, hours, minutes = stated.groups()
    return timezone((-1 if sign == "-" else 1) * timedelta(hours=int(hours), minutes=int(minutes)))
