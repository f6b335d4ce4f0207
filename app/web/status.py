"""``/status``: model, records, queue and load."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.access.caller import Caller, Role
from app.access.dependencies import MayAdminister, RequireRole
from app.api.health import Readiness, readiness_of
from app.api.query import KnownParameters
from app.problems import NoWebhook, TooSoon
from app.records.database import without_password
from app.records.prediction_queries import Hour
from app.services import Services, services_of
from app.web.errors import PageRoute
from app.web.forms import read_form
from app.web.machine import Machine, machine
from app.web.rendering import may, page
from app.web.strings import t

HOURS, TIMES = 24, 200
BAR_STEP, BAR_HEIGHT = 12.0, 80.0

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True)
class HourBar:
    """The bar of an hour, in drawing units."""

    hour: Hour
    x: float
    height: float
    review_height: float


@dataclass(frozen=True)
class Queue:
    """The load of the workers."""

    busy: int
    workers: int
    waiting: int
    places: int


NoParameters = Annotated[None, Depends(KnownParameters())]
TheServices = Annotated[Services, Depends(services_of)]
TheReadiness = Annotated[Readiness, Depends(readiness_of)]


@router.get("/status")
async def status_page(
    request: Request,
    caller: Annotated[Caller, Depends(RequireRole(Role.METRICS))],
    _: NoParameters,
    services: TheServices,
    readiness: TheReadiness,
) -> Response:
    return await _status(request, caller, services, readiness)


@router.post("/status/test-webhook")
async def send_test_webhook(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, readiness: TheReadiness
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    try:
        result = await services.webhook_check.run(caller.actor)
    except (NoWebhook, TooSoon) as problem:
        return await _status(request, caller, services, readiness, problem.status, wrong=problem.detail)
    if result.delivered:
        said = t("status.webhooks.delivered", host=result.host)
        return await _status(request, caller, services, readiness, said=said)
    wrong = t("status.webhooks.undelivered", host=result.host, why=result.reason)
    return await _status(request, caller, services, readiness, wrong=wrong)


async def _status(
    request: Request,
    caller: Caller,
    services: Services,
    readiness: Readiness,
    status: int = 200,
    said: str = "",
    wrong: str = "",
) -> Response:
    failed = await readiness.failed()
    queue = _queue(services)
    now = datetime.now(UTC)
    starts = [now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=back) for back in range(HOURS)][::-1]
    hours: list[Hour] = []
    times: list[float] = []
    drift = None
    host: Machine | None = None
    head = ""
    if "records" not in failed and not readiness.degraded:
        drift = await to_thread.run_sync(services.drift.latest, limiter=services.counting)

        def read() -> tuple[list[Hour], list[float], Machine | None, str]:
            found = services.browsing.hours(starts, now + timedelta(minutes=1)), services.browsing.last_times_ms(TIMES)
            if not may(caller):
                return *found, None, ""
            head = services.audit.head()
            return *found, machine(services.settings, services.database), str(head) if head else ""

        hours, times, host, head = await services.io.run(read)
    return page(
        request,
        "status.html",
        status,
        said=said,
        wrong=wrong,
        admin=may(caller),
        failed=failed,
        model=services.serving.state.model,
        shadow=services.serving.state.shadow,
        trouble=services.model_error,
        dropped=services.shadow.dropped,
        database=without_password(services.settings.sqlalchemy_url()) if may(caller) else "",
        degraded=readiness.degraded,
        webhooks=services.webhooks,
        journalled=services.writer.backlog.size,
        drift=drift,
        host=host,
        head=head,
        now=now,
        queue=queue,
        hours=hours,
        bars=_bars(hours),
        times=times,
        median=median(times) if times else 0.0,
        tail=quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else sum(times),
    )


def _queue(services: Services) -> Queue:
    pool = services.pool
    return Queue(pool.running, pool.size, pool.waiting, services.settings.queue)


def _bars(hours: list[Hour]) -> list[HourBar]:
    most = max((hour.answers for hour in hours), default=0) or 1
    return [
        HourBar(
            hour,
            index * BAR_STEP,
            round(BAR_HEIGHT * hour.answers / most, 2),
            round(BAR_HEIGHT * hour.review / most, 2),
        )
        for index, hour in enumerate(hours)
    ]
