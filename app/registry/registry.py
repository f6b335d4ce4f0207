"""The registry: the operations on models, each with its audit row in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, BinaryIO

from sqlalchemy import Connection
from sqlalchemy import Engine as Database

from app.diagnosis.engine import Engine
from app.problems import ArtifactRefused, ModelInUse, NothingToRollBackTo, UnknownModel
from app.records import models
from app.records.audit import SERVER, Actor, AuditTrail, Event
from app.records.database import transaction
from app.records.models import Activation, ModelEntry
from app.registry.vetting import VettingResult, vet
from app.signatures import SignatureRefusedError, TrustedKeys, parse_signature
from model_zoo.network import Network
from model_zoo.opening import ModelError
from model_zoo.proof import Step


@dataclass(frozen=True)
class UploadResult:
    """The result of an upload; ``new`` is False for bytes that were stored before."""

    entry: ModelEntry
    new: bool


@dataclass(frozen=True)
class Upload:
    """An uploaded artifact that has not been vetted.

    Attributes:
        file: open for reading; not closed here.
        size: bytes.
        sha256: of the bytes, hexadecimal.
        signature: base64, if one was sent.
    """

    file: BinaryIO
    size: int
    sha256: str
    signature: str | None


class Registry:
    """The models of one database.

    Every method raises RecordsUnavailable when the database fails.
    """

    def __init__(self, database: Database, audit: AuditTrail, trusted: TrustedKeys) -> None:
        self._database = database
        self._audit = audit
        self._trusted = trusted
        self._own: set[str] = set()

    def admit(self, upload: Upload, actor: Actor, tell: Callable[[Step], None] = lambda _: None) -> UploadResult:
        """Vet an upload and store it; a refused artifact leaves only an audit row.

        Stored bytes are not vetted again; a retired model is reactivated, and a first signature is stored.

        Raises:
            ArtifactRefused: with the report.
            SandboxUnavailable: if this machine cannot vet; then nothing can be uploaded.
        """
        signed = Step("signature", *self._judge(upload), 0.0)
        tell(signed)
        with self._audit.transaction() as connection:
            known = models.find(connection, upload.sha256)
            if known is not None and signed.passed:
                return UploadResult(self._bring_back(connection, known, _bytes_of(upload.signature), actor), new=False)
        verdict = VettingResult(signed.passed, (signed,))
        if signed.passed:
            vetted = vet(upload.file, size=upload.size, tell=tell)
            verdict = VettingResult(vetted.passed, (signed, *vetted.steps))
        if not verdict.passed:
            failed = next(step for step in verdict.steps if not step.passed)
            after = {"bytes": upload.size, "step": failed.name, "detail": failed.detail}
            self._audit.record(actor, Event("model.refuse", upload.sha256, after=after))
            raise ArtifactRefused(
                f"The step {failed.name!r} failed: {failed.detail}. Nothing was stored.", report=verdict.document()
            )
        upload.file.seek(0)
        data = upload.file.read()
        entry = _described(data, "upload", actor, verdict.document(), _bytes_of(upload.signature))
        with self._audit.transaction() as connection:
            if (known := models.find(connection, entry.id)) is not None:
                return UploadResult(known, new=False)
            models.add(connection, entry, data)
            self._audit.append(connection, actor, Event("model.upload", entry.id, after=_told(entry)))
        return UploadResult(entry, new=True)

    def release(self, data: bytes) -> None:
        """Register an artifact of the release, after verification; activate it if no model is active.

        It needs no signature: whoever can change it can change the server.

        Raises:
            ModelError: if it cannot be used.
        """
        model_id = sha256(data).hexdigest()
        self._own.add(model_id)
        with transaction(self._database) as connection:
            if models.find(connection, model_id) is not None and models.active(connection) is not None:
                return
        proof = Engine.open(data).proof
        entry = _described(data, "release", SERVER, VettingResult(proof.passed, proof.steps).document(), None)
        with self._audit.transaction() as connection:
            if models.find(connection, entry.id) is None:
                models.add(connection, entry, data)
                self._audit.append(connection, SERVER, Event("model.release", entry.id, after=_told(entry)))
            if models.active(connection) is None:
                self._activate(connection, entry, SERVER)

    def listing(self) -> tuple[list[ModelEntry], Activation | None]:
        """Every model, newest first, and the last activation."""
        with transaction(self._database) as connection:
            return models.listing(connection), models.active(connection)

    def earlier(self) -> ModelEntry | None:
        """The model that :meth:`roll_back` would activate; None if there is none."""
        with transaction(self._database) as connection:
            current = models.active(connection)
            earlier = models.before(connection, current) if current else None
            return models.find(connection, earlier) if earlier else None

    def find(self, model_id: str) -> ModelEntry:
        """A model by its id.

        Raises:
            UnknownModel: if there is none.
        """
        with transaction(self._database) as connection:
            return _find(connection, model_id)

    def data_of(self, entry: ModelEntry) -> bytes:
        """A model's artifact.

        Raises:
            UnknownModel: if it is gone.
        """
        with transaction(self._database) as connection:
            data = models.data_of(connection, entry.id)
        if data is None:
            raise UnknownModel(f"There is no model {entry.id}.")
        return data

    def checked_data(self, model_id: str) -> tuple[ModelEntry, bytes]:
        """A model and its artifact, with checked bytes and signature.

        Raises:
            UnknownModel: if there is none.
            ModelError: if its stored bytes differ from the upload, or if a required signature is missing.
        """
        entry = self.find(model_id)
        try:
            self.check_trust(entry)
        except SignatureRefusedError as error:
            raise ModelError(str(error)) from error
        data = self.data_of(entry)
        if sha256(data).hexdigest() != entry.id:
            raise ModelError("its stored bytes were changed")
        return entry, data

    def activate(self, model_id: str, actor: Actor) -> Activation:
        """Activate a model; no change if it is active already. Does not check whether the model can be loaded.

        Raises:
            UnknownModel, ModelInUse: if there is none, or it has been retired.
        """
        with self._audit.transaction() as connection:
            entry = _find(connection, model_id)
            if entry.retired_at is not None:
                raise ModelInUse(f"The model {entry.id} has been retired: upload it again to reactivate it.")
            return self._activate(connection, entry, actor)

    def roll_back(self, actor: Actor) -> Activation:
        """Activate the previously active model.

        Raises:
            NothingToRollBackTo: if there is none that has not been retired.
        """
        with self._audit.transaction() as connection:
            current = models.active(connection)
            earlier = models.before(connection, current) if current else None
            if earlier is None:
                raise NothingToRollBackTo("There is no previously active model: activate a model by its id.")
            return self._activate(connection, _find(connection, earlier), actor)

    def retire(self, model_id: str, actor: Actor) -> ModelEntry:
        """Retire a model; its bytes are kept, because predictions refer to it.

        Raises:
            UnknownModel, ModelInUse: if there is none, or it is active.
        """
        with self._audit.transaction() as connection:
            entry = _find(connection, model_id)
            current = models.active(connection)
            if current is not None and current.model_id == entry.id:
                raise ModelInUse(f"The model {entry.id} is active: activate another model first.")
            if entry.retired_at is not None:
                return entry
            retired = replace(entry, retired_at=datetime.now(UTC), shadow_since=None)
            models.change(connection, entry.id, retired_at=retired.retired_at, shadow_since=None)
            self._audit.append(connection, actor, Event("model.retire", entry.id, before=_told(entry)))
            return retired

    def shadow(self, model_id: str | None, actor: Actor) -> None:
        """Make a model the shadow, in place of any other; None stops the shadow.

        Raises:
            UnknownModel, ModelInUse: if there is none, it has been retired, or it is active.
        """
        with self._audit.transaction() as connection:
            old = models.shadow_id(connection)
            new = _find(connection, model_id) if model_id is not None else None
            if new is not None and new.retired_at is not None:
                raise ModelInUse(f"The model {new.id} has been retired: upload it again to reactivate it.")
            current = models.active(connection)
            if new is not None and current is not None and current.model_id == new.id:
                raise ModelInUse(f"The model {new.id} is active: choose another model as the shadow.")
            if old == (new.id if new else None):
                return
            models.stop_shadow(connection)
            if new is not None:
                models.change(connection, new.id, shadow_since=datetime.now(UTC))
            subject = new.id if new else old or ""
            self._audit.append(
                connection, actor, Event("model.shadow", subject, {"shadow": old}, {"shadow": new.id if new else None})
            )

    def recognize(self, data: bytes) -> None:
        """Remember an artifact of this release, which needs no signature; it is not registered."""
        self._own.add(sha256(data).hexdigest())

    def is_own(self, model_id: str) -> bool:
        """Whether the model is part of this release."""
        return model_id in self._own

    def check_trust(self, entry: ModelEntry) -> None:
        """Check a stored model's signature again.

        Raises:
            SignatureRefusedError: if no trusted key signed it and it is not part of this server's release.
        """
        if entry.id not in self._own:
            self._trusted.check(entry.id, entry.signature)

    def _judge(self, upload: Upload) -> tuple[bool, str]:
        try:
            return True, self._trusted.check(upload.sha256, _bytes_of(upload.signature))
        except SignatureRefusedError as error:
            return False, str(error)

    def _bring_back(
        self, connection: Connection, known: ModelEntry, signature: bytes | None, actor: Actor
    ) -> ModelEntry:
        entry = replace(known, retired_at=None, signature=signature or known.signature)
        if entry != known:
            models.change(connection, known.id, retired_at=None, signature=entry.signature)
            self._audit.append(connection, actor, Event("model.upload", known.id, _told(known), _told(entry)))
        return entry

    def _activate(self, connection: Connection, entry: ModelEntry, actor: Actor) -> Activation:
        current = models.active(connection)
        if current is not None and current.model_id == entry.id:
            return current
        if entry.shadow_since is not None:
            models.stop_shadow(connection)
        activation = models.activate(connection, entry.id, actor.who)
        self._audit.append(
            connection,
            actor,
            Event("model.activate", entry.id, {"active": current.model_id if current else None}, {"active": entry.id}),
        )
        return activation


def _described(
    data: bytes, origin: str, actor: Actor, report: dict[str, object], signature: bytes | None
) -> ModelEntry:
    network = Network(data)
    manifest = network.manifest
    return ModelEntry(
        id=sha256(data).hexdigest(),
        name=manifest.name,
        version=manifest.version,
        size=len(data),
        signature=signature,
        manifest=manifest.model_dump_json(exclude={"golden_cases"}),
        report=json.dumps(report, ensure_ascii=False),
        origin=origin,
        uploaded_by=actor.who,
        uploaded_at=datetime.now(UTC),
    )


def _find(connection: Connection, model_id: str) -> ModelEntry:
    entry = models.find(connection, model_id)
    if entry is None:
        raise UnknownModel(f"There is no model {model_id!r}: GET /admin/models or `rosette models list` shows them.")
    return entry


def _told(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": entry.version,
        "bytes": entry.size,
        "signed": entry.signature is not None,
        "retired": entry.retired_at is not None,
    }


def _bytes_of(signature: str | None) -> bytes | None:
    return None if signature is None else parse_signature(signature)
