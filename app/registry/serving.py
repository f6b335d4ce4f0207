"""The model of this server: follows the last activation in the database, and replaces models between requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from time import monotonic

from sqlalchemy import Engine as Database

from app.inference.model import Model
from app.inference.processes import Processes
from app.inference.worker import WorkerEnded
from app.problems import ModelUnusable, NoModel, Problem, UnknownModel
from app.records import models
from app.records.audit import Actor
from app.records.database import transaction
from app.records.models import Activation
from app.registry.registry import Registry
from model_zoo.opening import ModelError

POLL_S = 0.5
RETRY_S = 10.0
ATTEMPTS = 3

log = logging.getLogger("rosette.models")


@dataclass(frozen=True)
class State:
    """The current model and shadow of this server.

    Attributes:
        model: the model that answers; None before one could be loaded.
        shadow: the shadow, if any.
        error: why the active model or the shadow does not run here; empty if both do.
    """

    model: Model | None = None
    shadow: Model | None = None
    error: str = "the server is starting"


@dataclass(frozen=True)
class _Refusal:
    """Why a model is not used here, and when to try again (monotonic clock, seconds)."""

    reason: str
    until: float = inf
    tries: int = 1


class Serving:
    """Keeps the active model loaded, in a thread that looks for a new activation twice a second.

    A request that took :attr:`model` before a replacement finishes with it; then the pool drops it.

    Args:
        database: contains the activations.
        registry: the models.
        processes: open models and run them.
    """

    def __init__(self, database: Database, registry: Registry, processes: Processes) -> None:
        self._database = database
        self._registry = registry
        self._processes = processes
        self._refused: dict[str, _Refusal] = {}
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
            raise NoModel("No model is loaded, so the server cannot answer: see /readyz for the reason.")
        return model

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def follow(self) -> State:
        """Apply the last activation now; returns the new state.

        If a model cannot be used here, the previous one continues, and it is not tried again until the next activation.
        At the start, the most recently active model that can be used takes its place.

        Raises:
            RecordsUnavailable: if the database fails; the current model continues.
        """
        with self._following:
            return self._follow()

    def activate(self, model_id: str, actor: Actor) -> Activation:
        """Verify a model here, then activate it on every server of this database.

        Raises:
            UnknownModel, ModelInUse: if there is none, or it has been retired.
            ModelUnusable: if it cannot be loaded here; nothing is changed.
        """
        return self._activate(model_id, lambda: self._registry.activate(model_id, actor))

    def roll_back(self, actor: Actor) -> Activation:
        """Activate the previously active model in the same way.

        Raises:
            NothingToRollBackTo: if there is none that has not been retired.
            ModelUnusable: if it cannot be loaded here; nothing is changed.
        """
        earlier = self._registry.earlier()
        if earlier is None:
            return self._registry.roll_back(actor)
        return self._activate(earlier.id, lambda: self._registry.roll_back(actor))

    def start_shadow(self, model_id: str, actor: Actor) -> None:
        """Prove a model here, and then let it score live patches on every server of this database.

        It takes the place of any other.

        Raises:
            UnknownModel, ModelInUse: if there is none, it has been retired, or it is the one that serves.
            ModelUnusable: if it cannot be loaded here; nothing is changed.
        """
        with self._following:
            proved = self._proved(model_id, "it did not become the shadow")
            self._registry.shadow(model_id, actor)
            self._follow(proved)

    def borrow(self, model_id: str) -> Model:
        """A model of the registry, proved here; it stays loaded as long as somebody refers to it.

        Raises:
            UnknownModel: if there is none.
            ModelUnusable: if it cannot be loaded here.
        """
        return self._proved(model_id, "nothing was done")

    def stop_shadow(self, actor: Actor) -> None:
        """Let no model score beside the active one."""
        self._registry.shadow(None, actor)
        self.follow()

    def _activate(self, model_id: str, commit: Callable[[], Activation]) -> Activation:
        with self._following:
            proved = self._proved(model_id, "it was not activated")
            activation = commit()
            self._follow(proved)
            return activation

    def _proved(self, model_id: str, consequence: str) -> Model:
        """A model that can be used here.

        Raises:
            ModelUnusable: with the consequence, if it cannot be.
        """
        try:
            return self._loaded(model_id) or self._open(model_id)
        except (ModelError, WorkerEnded) as error:
            raise ModelUnusable(
                f"The model {model_id[:12]} cannot be loaded here, so {consequence}: {error}"
            ) from error

    def _follow(self, proved: Model | None = None) -> State:
        with transaction(self._database) as connection:
            activation = models.active(connection)
            shadow_id = models.shadow_id(connection)
            earlier = models.activated(connection) if self.state.model is None else []
        active_id = activation.model_id if activation else None
        wanted = (activation.number if activation else 0, shadow_id)
        if wanted != self._wanted:
            self._refused.clear()
            self._wanted = wanted
        model = self._model_of(active_id, proved) or self.state.model or self._first_of(earlier)
        shadow = self._model_of(shadow_id, proved)
        self.state = State(model, shadow, self._error(active_id, shadow_id, model))
        self._processes.drop_unused()
        return self.state

    def _error(self, active_id: str | None, shadow_id: str | None, model: Model | None) -> str:
        """Why the active model or the shadow does not run here; empty if both do."""
        reasons = [self._refused[name].reason for name in (active_id, shadow_id) if name in self._refused]
        if active_id in self._refused and model is not None:
            title = f"{model.manifest.name} {model.manifest.version} ({model.sha256[:12]})"
            reasons.append(f"{title} serves in its place: activate a model that can be loaded, or roll back")
            if not self.state.error or self.state.model is None:
                log.warning(reasons[-1])
        if model is None and not reasons:
            reasons.append("no model is active: activate one")
        return "; ".join(reasons)

    def _first_of(self, model_ids: list[str]) -> Model | None:
        """The first model that can be used here."""
        return next((model for model in map(self._model_of, model_ids) if model), None)

    def _model_of(self, model_id: str | None, proved: Model | None = None) -> Model | None:
        """The model, loaded and verified; None if there is none, or it cannot be used here."""
        if model_id is None:
            return None
        if proved is not None and proved.sha256 == model_id:
            return proved
        refusal = self._refused.get(model_id)
        if refusal is not None and monotonic() < refusal.until:
            return None
        if loaded := self._loaded(model_id):
            return loaded
        until = inf
        try:
            model = self._open(model_id)
        except ModelError as error:
            reason = str(error)
        except UnknownModel:
            reason = "it is not in the registry"
        except WorkerEnded as error:  # the model need not be the cause
            reason = str(error)
            if refusal is None or refusal.tries < ATTEMPTS:
                until = monotonic() + RETRY_S
        else:
            self._refused.pop(model_id, None)
            return model
        tries = refusal.tries + 1 if refusal else 1
        self._refused[model_id] = _Refusal(f"the model {model_id[:12]} is not used here: {reason}", until, tries)
        log.error(self._refused[model_id].reason)
        return None

    def _loaded(self, model_id: str) -> Model | None:
        for loaded in (self.state.model, self.state.shadow):
            if loaded is not None and loaded.sha256 == model_id:
                return loaded
        return None

    def _open(self, model_id: str) -> Model:
        """Load a model and verify it.

        Raises:
            ModelError: if it cannot be used here.
            WorkerEnded: if every inference process ended while opening it.
            UnknownModel: if there is none.
        """
        entry, data = self._registry.checked_data(model_id)
        try:
            model = self._processes.open(data)
        except (ModelError, WorkerEnded):
            raise
        except Exception as error:  # an error in a model must not stop the current one
            raise ModelError(f"it cannot be opened: {type(error).__name__}: {error}") from error
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
                self.state = replace(self.state, error=f"the active model cannot be looked up: {trouble}")
            if trouble != said:  # once for each outage, not twice a second
                said = trouble
                log.warning("cannot look up the active model: %s", trouble) if trouble else log.info("following again")
