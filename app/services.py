"""What the routes work with: made once for each application, started and stopped with it."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request

from app.access.guard import LOOKUPS
from app.access.keys import Keys
from app.diagnosis.engine import Engine, ModelError
from app.problems import NoModel
from app.records.database import open_database
from app.records.migrations import migrate
from app.records.predictions import PredictionLog
from app.settings import Settings
from app.work import Workers


class Services:
    """The database, the keys, the prediction log, the workers and the model of one server.

    Attributes:
        admin_key_file: where the first admin key was written in this start, if it was.
        model_error: why no model is loaded; empty when one is.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = open_database(settings.sqlalchemy_url(), connections=settings.workers + LOOKUPS + 2)
        self.keys = Keys(self.database, settings.read_admin_key())
        self.predictions = PredictionLog(self.database)
        self.workers = Workers(settings.workers, settings.queue)
        self.admin_key_file: Path | None = None
        self.model_error = "the server is starting"
        self._engine: Engine | None = None
        self._started = False

    def start(self) -> None:
        """Make the home folder, migrate the database, see that an admin can get in, load the model.

        A model that cannot be loaded does not stop the start: ``/readyz`` says why. Further calls do nothing.
        """
        if self._started:
            return
        self.settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        migrate(self.database)
        self.admin_key_file = self.keys.ensure_admin(self.settings.home)
        try:
            self._engine = Engine.load(self.settings.model)
            self.model_error = ""
        except ModelError as error:
            self.model_error = str(error)
        self._started = True

    def stop(self) -> None:
        self.database.dispose()

    @property
    def engine(self) -> Engine:
        """The model that serves.

        Raises:
            NoModel: if none is loaded.
        """
        if self._engine is None:
            raise NoModel("No model is loaded, so nothing can be answered: /readyz says why.")
        return self._engine


def services_of(request: Request) -> Services:
    """The services of the application that a request came to."""
    services: Services = request.app.state.services
    return services
