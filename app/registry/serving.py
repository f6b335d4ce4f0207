"""Which model answers here: follows the last activation in the database, and swaps whole models between answers."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Engine as Database

from app.diagnosis.engine import ModelError
from app.inference.model import Model
from app.inference.pool import Pool
from app.problems import NoModel, Problem
from app.records import models
from app.records.database import transaction
from app.registry.registry import Registry
from app.registry.signatures import SignatureRefusedError

POLL_S = 0.5

log = logging.getLogger("rosette.models")


@dataclass(frozen=True)
class State:
    """What serves, and what else was asked for.

    Attributes:
        model: answers; None before any could be loaded.
        shadow: scores beside it, if any.
        error: why the model that should serve, or the shadow, does not; empty if it does.
    """

    model: Model | None = None
    shadow: Model | None = None
    error: str = "the server is starting"


class Serving:
    """Keeps the active model loaded, in a thread that looks for a new activation twice a second.

    Whoever took :attr:`model` before a swap finishes with it; then nothing refers to it, and the pool drops it.

    Args:
        database: where activations are.
        registry: the models.
        pool: opens them, and answers.
    """

    def __init__(self, database: Database, registry: Registry, pool: Pool) -> None:
        self._database = database
        self._registry = registry
        self._pool = pool
        self._refused: dict[str, str] = {}
        self._wanted: tuple[int, str | None] | None = None
        self._following = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self.state = State()

    @property
    def model(self) -> Model:
        """The model that answers.

        Raises:
            NoModel: if none could be loaded.
        """
        model = self.state.model
        if model is None:
            raise NoModel("No model is loaded, so nothing can be answered: /readyz says why.")
        return model

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def follow(self) -> State:
        """Bring this server to the last activation now; gives what serves afterwards.

        A model that cannot be used here leaves the one before in service, and is not tried again until another
        activation is made.

        Raises:
            RecordsUnavailable: if the database fails; the model that serves goes on.
        """
        with self._following:
            with transaction(self._database) as connection:
                activation = models.active(connection)
                shadow_id = models.shadow_id(connection)
            active_id = activation.model_id if activation else None
            wanted = (activation.number if activation else 0, shadow_id)
            if wanted != self._wanted:
                self._refused.clear()
                self._wanted = wanted
            model = self._model_of(active_id) or self.state.model
            shadow = self._model_of(shadow_id)
            error = "; ".join(self._refused.values())
            if model is None and not error:
                error = "no model is active: activate one"
            self.state = State(model, shadow, error)
            self._pool.drop_unused()
            return self.state

    def _model_of(self, model_id: str | None) -> Model | None:
        """The model, loaded and proved; None if there is none, or it cannot be used here."""
        if model_id is None or model_id in self._refused:
            return None
        for loaded in (self.state.model, self.state.shadow):
            if loaded is not None and loaded.sha256 == model_id:
                return loaded
        try:
            entry = self._registry.find(model_id)
            self._registry.check_trust(entry)
            data = self._registry.data_of(entry)
            if sha256(data).hexdigest() != model_id:
                raise ModelError("its stored bytes have been changed")
            model = self._pool.open(data)
        except (ModelError, SignatureRefusedError) as error:
            self._refused[model_id] = f"the model {model_id[:12]} is not used here: {error}"
            log.error(self._refused[model_id])
            return None
        log.info("loaded the model %s %s (%s)", entry.name, entry.version, model_id[:12])
        return model

    def _run(self) -> None:
        said = ""
        while not self._stop.wait(POLL_S):
            try:
                self.follow()
                trouble = ""
            except Problem as problem:
                trouble = problem.detail
            except Exception as error:
                trouble = f"{type(error).__name__}: {error}"
            if trouble != said:  # once for each outage, not twice a second
                said = trouble
                log.warning("cannot look for another model: %s", trouble) if trouble else log.info("following again")
