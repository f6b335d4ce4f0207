"""What the routes work with: made once for each application, started and stopped with it."""

from __future__ import annotations

import logging
from pathlib import Path

from anyio import CapacityLimiter
from fastapi import Request

from app.acceptance_run import AcceptanceRuns
from app.access.keys import Keys
from app.access.lookup import LOOKUPS, Lookup
from app.access.people import People
from app.access.rotation import KeyRotation
from app.access.sessions import Sessions
from app.access.throttle import FailedTries, KeyRates
from app.answering import PredictionService
from app.inference.model import Model, Prediction
from app.inference.pool import Pool
from app.inference.processes import Processes
from app.memory import use_few_arenas
from app.metrics import Metrics
from app.oidc.sign_in import SignIn, SignInFigures
from app.records.acceptances import Acceptances
from app.records.agreement import Agreement
from app.records.audit import AuditTrail
from app.records.backlog import Backlog
from app.records.database import open_database
from app.records.drift import Drift
from app.records.migrations import migrate
from app.records.prediction_queries import PredictionQueries
from app.records.predictions import PredictionLog
from app.records.region_reviews import RegionReviews
from app.records.retention import Retention
from app.records.reviews import Reviews
from app.records.settings_audit import record_settings
from app.records.shadow_scores import ShadowScores
from app.records.slide_runs import SlideRuns
from app.records.webhook_events import WebhookEvents
from app.records.worklist import Worklist
from app.records.writer import Writer
from app.registry import release
from app.registry.registry import Registry
from app.registry.serving import Serving
from app.registry.shadow import ShadowScorer
from app.settings import Settings
from app.signatures import TrustedKeys
from app.slides.judging import RegionJudging
from app.slides.service import SlideService
from app.telemetry import Tracing
from app.threads import Threads
from app.verdict_test import VerdictTest
from app.webhooks.check import WebhookCheck
from app.webhooks.sender import Webhooks
from model_zoo.opening import ModelError

IO_THREADS = 4
# Connections of the thread that follows activations, of the shadow's, of an upload, of the readiness check, of the
# retention, of drift's count, of webhooks, of the writer and its keeper; of the threads that serve slides, open and
# score them.
_OTHERS = 14

log = logging.getLogger("rosette.models")


class Services:
    """The database, the keys, the records, the models and the workers of one server.

    Attributes:
        admin_key_file: where the first admin key was written in this start, if it was.
        processes: decode and infer.
        pool: hands them patches.
        io: threads that wait for the database.
        vetting: admits one upload at a time.
        counting: admits one count of drift at a time, beside the workers.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = open_database(settings.sqlalchemy_url(), connections=IO_THREADS + LOOKUPS + _OTHERS)
        self.audit = AuditTrail(self.database)
        self.keys = Keys(self.database, self.audit, settings.read_admin_key(), settings.key_grace_s)
        self.rotation = KeyRotation(self.audit, self.keys)
        self.people = People(self.audit, self.keys)
        self.sessions = Sessions(
            self.database,
            self.keys,
            self.audit,
            settings.session_idle_s,
            grace_s=settings.key_grace_s,
            issuer=settings.oidc_issuer or "",
            people_s=settings.oidc_session_s,
        )
        self.lookup = Lookup(self.keys, FailedTries(settings.failed_tries), self.sessions)
        self.predictions = PredictionLog(self.database)
        self.browsing = PredictionQueries(self.database)
        self.worklist = Worklist(self.database)
        self.retention = Retention(self.database, self.audit, settings.retention_days)
        self.key_rates = KeyRates(settings.key_rate)
        self.writer = Writer(self.database, Backlog(self.database, settings.journal_folder, settings.journal_bytes))
        self.processes = Processes(settings.inference_processes)
        self.pool = Pool(self.processes, settings.queue, settings.deadline_s, settings.prevalence)
        self.io = Threads(IO_THREADS, settings.queue, settings.deadline_s, name="io")
        self.reviews = Reviews(self.database, self.audit)
        self.agreement = Agreement(self.database, self.audit)
        self.acceptances = Acceptances(self.database, self.audit)
        self.registry = Registry(self.database, self.audit, TrustedKeys.parse(settings.trusted_keys or ""))
        self.serving = Serving(self.database, self.registry, self.processes)
        slide_runs = SlideRuns(self.database, self.audit)
        self.slides = SlideService(settings, slide_runs, self.registry, self.serving, self.retention)
        self.regions = RegionJudging(self.slides, RegionReviews(self.database, self.audit))
        self.acceptance_runs = AcceptanceRuns(self.pool, self.serving, self.acceptances)
        self.verdict_test = VerdictTest.of(self.database, self.audit, settings.home)
        self.shadow_scores = ShadowScores(self.database)
        self.shadow = ShadowScorer(self.shadow_scores, self.serving, self.pool)
        self.webhooks = Webhooks(settings.webhook_target(), WebhookEvents(self.database), self._all_is_recorded)
        self.webhook_check = WebhookCheck(settings.webhook_target(), self.audit)
        self.sign_in = SignIn.of(
            settings.oidc_client(), self.people, slide_runs.secret, FailedTries(settings.failed_tries)
        )
        others = self.slides.figures, self.webhooks, SignInFigures(self.sign_in)
        self.metrics = Metrics(self.pool, self.serving, self.shadow, self.writer, *others)
        self.tracing = Tracing(settings.otlp_endpoint) if settings.otlp_endpoint else None
        self.answering = PredictionService(
            self.pool,
            self.io,
            self.serving,
            self.predictions,
            self.writer,
            self.shadow,
            self._traced if self.tracing else self.metrics.answered,
            settings.store_patches,
            settings.store_names,
        )
        self.vetting = CapacityLimiter(1)
        self.drift = Drift(self.database)
        self.counting = CapacityLimiter(1)
        self.admin_key_file: Path | None = None
        self._release_error = ""
        self._started = False

    def start(self) -> None:
        """Make the home folder, migrate the database, see that an admin can get in, load the active model.

        A model that cannot be loaded does not stop the start: ``/readyz`` says why. Further calls do nothing.
        """
        if self._started:
            return
        use_few_arenas()
        self.processes.start()
        self.settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate(self.database)
        record_settings(self.audit, self.settings)
        self.admin_key_file = self.keys.ensure_admin(self.settings.home)
        try:
            release.register(self.registry, self.settings.model)
        except ModelError as error:
            self._release_error = str(error)
            log.error(self._release_error)
        self.serving.follow()
        release.warn_if_another_serves(self.registry, self.serving)
        self.serving.start()
        self.writer.start()
        self.io.start()
        self.slides.start()
        self._started = True

    def stop(self) -> None:
        """End the threads when they have done what waits."""
        self.slides.stop()
        self.io.stop()
        self.writer.stop()
        self.serving.stop()
        self.processes.stop()
        self.database.dispose()
        if self.tracing:
            self.tracing.stop()

    def _traced(self, answer: Prediction, record_s: float) -> None:
        """Count a prediction and its stages, and make spans of them; in its request's task."""
        assert self.tracing is not None
        self.metrics.answered(answer, record_s)
        self.tracing.answered(answer, record_s)

    def _all_is_recorded(self) -> bool:
        return not (self.writer.trouble or self.writer.backlog.size)

    @property
    def model(self) -> Model:
        """The model that serves.

        Raises:
            NoModel: if none is loaded.
        """
        return self.serving.model

    @property
    def model_error(self) -> str:
        """Why the model that should serve does not; empty if it does."""
        state = self.serving.state
        return state.error if state.model is not None else self._release_error or state.error


def services_of(request: Request) -> Services:
    """The services of the application that a request came to."""
    services: Services = request.app.state.services
    return services
