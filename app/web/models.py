"""``/models``: list, upload, activate and retire models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from app.access.dependencies import MayAdminister
from app.api.models import Activated, ListedModel, ModelDetail, detail, followed, read_file
from app.api.query import KnownParameters, chosen
from app.api.upload import ArtifactReader
from app.problems import Busy, NothingToRollBackTo, Problem
from app.records.models import ModelEntry, summary
from app.registry.advice import activation_warnings, metrics_of
from app.services import Services, services_of
from app.web.agreement import months_of
from app.web.errors import PageRoute
from app.web.forms import check_script, read_form
from app.web.plots import plots_of
from app.web.rendering import HEADERS, fragment, page
from app.web.strings import metric_name, t
from app.web.vetting import LiveVetting
from model_zoo.comparison import compared
from model_zoo.manifest import Metric

DONE = ("activated", "pending", "retired", "shadow", "unshadow")

router = APIRouter(prefix="/models", include_in_schema=False, route_class=PageRoute)
TheServices = Annotated[Services, Depends(services_of)]
NoParameters = Annotated[None, Depends(KnownParameters())]


@dataclass(frozen=True)
class Line:
    """A figure of two models; empty if a model does not state it. ``mark``: worse, beyond (the intervals), or empty."""

    name: str
    old: str
    new: str
    mark: str = ""


@router.get("")
async def list_models(
    request: Request, caller: MayAdminister, _: Annotated[None, Depends(KnownParameters("done"))], services: TheServices
) -> Response:
    def read() -> dict[str, Any]:
        entries, active = services.registry.listing()
        chosen = next((entry for entry in entries if active and entry.id == active.model_id), None)
        shadow = next((entry for entry in entries if entry.shadow_since is not None), None)
        return {
            "models": [(ListedModel(**summary(entry, active)), json.loads(entry.manifest)) for entry in entries],
            "active": detail(services, chosen) if chosen else None,
            "activation": active,
            "shadow": detail(services, shadow) if shadow else None,
            "earlier": services.registry.earlier(),
        }

    said = _said(services, chosen(request, "done", DONE))
    return page(
        request, "models.html", said=said, trouble=services.model_error, auc=_auc, **await services.io.run(read)
    )


@router.post("/upload")
async def upload(request: Request, caller: MayAdminister, _: NoParameters, services: TheServices) -> Response:
    check_script(request)
    reader = ArtifactReader(services.settings.home, services.settings.upload_timeout_s)
    try:
        reader.check_headers(request)
        if services.vetting.borrowed_tokens:
            raise Busy("Another artifact is being vetted: try again when it is done.")
    except Problem as problem:
        return fragment("_refused.html", problem=problem)
    return LiveVetting(services, reader, request, caller.actor)


@router.get("/rollback")
async def ask_roll_back(request: Request, caller: MayAdminister, _: NoParameters, services: TheServices) -> Response:
    return await _confirm(request, services, "rollback", await _earlier(services))


@router.post("/rollback")
async def roll_back(request: Request, caller: MayAdminister, _: NoParameters, services: TheServices) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "active", "model")
    entry = await _earlier(services)
    if form != {"active": await _active_id(services), "model": entry.id}:
        return await _confirm(request, services, "rollback", entry, moved=True)
    return _done(await followed(services, await services.io.run(partial(services.serving.roll_back, caller.actor))))


@router.post("/shadow/stop")
async def stop_shadow(request: Request, caller: MayAdminister, _: NoParameters, services: TheServices) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    await services.io.run(partial(services.serving.stop_shadow, caller.actor))
    return _to("unshadow")


@router.get("/{model_id}")
async def one_model(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str
) -> Response:
    def read() -> tuple[ModelDetail, dict[str, str]]:
        entries, _ = services.registry.listing()
        names = {entry.id: t("model.title", name=entry.name, version=entry.version) for entry in entries}
        return detail(services, services.registry.find(model_id)), names

    model, names = await services.io.run(read)
    months = await months_of(services, model.id)
    context: dict[str, Any] = {"model": model, "names": names, "months": months, "plots": plots_of(model.manifest)}
    return page(request, "model.html", **context)


@router.get("/{model_id}/file")
async def download(caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str) -> Response:
    return await read_file(caller, None, services, model_id)


@router.get("/{model_id}/activate")
async def ask_activate(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str
) -> Response:
    entry = await services.io.run(partial(services.registry.find, model_id))
    return await _confirm(request, services, "activate", entry)


@router.post("/{model_id}/activate")
async def activate(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str
) -> Response:
    form = await read_form(request, services.settings.body_timeout_s, "active", "model")
    entry = await services.io.run(partial(services.registry.find, model_id))
    if form["active"] != await _active_id(services):
        return await _confirm(request, services, "activate", entry, moved=True)
    activation = await services.io.run(partial(services.serving.activate, entry.id, caller.actor))
    return _done(await followed(services, activation))


@router.get("/{model_id}/retire")
async def ask_retire(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str
) -> Response:
    entry = await services.io.run(partial(services.registry.find, model_id))
    return page(request, "retire.html", entry=entry)


@router.post("/{model_id}/retire")
async def retire(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    await services.io.run(partial(services.registry.retire, model_id, caller.actor))
    return _to("retired")


@router.post("/{model_id}/shadow")
async def start_shadow(
    request: Request, caller: MayAdminister, _: NoParameters, services: TheServices, model_id: str
) -> Response:
    await read_form(request, services.settings.body_timeout_s)
    await services.io.run(partial(services.serving.start_shadow, model_id, caller.actor))
    return _to("shadow")


async def _confirm(request: Request, services: Services, deed: str, new: ModelEntry, moved: bool = False) -> Response:
    def read() -> tuple[ModelDetail | None, ModelDetail, list[str]]:
        entries, active = services.registry.listing()
        old = next((entry for entry in entries if active and entry.id == active.model_id), None)
        warnings = activation_warnings(services.registry, services.acceptances, new)
        return detail(services, old) if old else None, detail(services, new), warnings

    old, chosen, warnings = await services.io.run(read)
    beside = [each for each in chosen.shadow if old and each.active_id == old.id]
    return page(
        request,
        "confirm.html",
        409 if moved else 200,
        deed=deed,
        moved=moved,
        old=old,
        new=chosen,
        lines=_lines(old.manifest if old else None, chosen.manifest),
        beside=beside,
        warnings=warnings,
    )


async def _active_id(services: Services) -> str:
    _, active = await services.io.run(services.registry.listing)
    return active.model_id if active else ""


async def _earlier(services: Services) -> ModelEntry:
    earlier = await services.io.run(services.registry.earlier)
    if earlier is None:
        raise NothingToRollBackTo("There is no previously active model: activate a model by its id.")
    return earlier


def _lines(old: dict[str, Any] | None, new: dict[str, Any]) -> list[Line]:
    """The limits and figures of two models."""
    sides = [_figures(manifest) if manifest else {} for manifest in (old, new)]
    marks = _marks(metrics_of(old), metrics_of(new)) if old else {}
    names = list(dict.fromkeys([*sides[1], *sides[0]]))
    return [Line(name, sides[0].get(name, ""), sides[1].get(name, ""), marks.get(name, "")) for name in names]


def _marks(old: list[Metric], new: list[Metric]) -> dict[str, str]:
    """By the figures' names, those of the new model that are worse."""
    pairs = compared(old, new).values()
    return {_title(each.new): "beyond" if each.beyond else "worse" for each in pairs if each.worse}


def _title(metric: Metric) -> str:
    return f"{metric_name(metric.name, metric.basis)}, {metric.split}"


def _figures(manifest: dict[str, Any]) -> dict[str, str]:
    low, high = manifest["review_band"]
    found = {
        t("models.group"): str(manifest["group"]["name"]),
        t("model.exact"): str(manifest["exact_subgroup"]),
        t("model.threshold"): f"{manifest['threshold']:.3f}",
        t("model.band"): t("model.interval.value", low=f"{low:.3f}", high=f"{high:.3f}"),
        t("model.limit"): f"{manifest['consistency']['limit']:.3f}",
        t("model.floor"): f"{manifest['consistency']['interpolation_floor']:.3f}",
    }
    for metric in metrics_of(manifest):
        found[_title(metric)] = f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return found


def _auc(manifest: dict[str, Any]) -> str:
    """The AUC on test, else on another split, on basis orbit if available; empty if not stated."""
    aucs = [metric for metric in manifest["metrics"] if metric["name"] == "auc"]
    by_basis = sorted(aucs, key=lambda metric: metric.get("basis") == "orbit")
    found = {metric["split"]: f"{metric['value']:.3f}" for metric in by_basis}
    return str(found.get("test") or next(iter(found.values()), ""))


def _done(activated: Activated) -> Response:
    return _to("activated" if activated.serves_here else "pending")


def _to(done: str) -> Response:
    return RedirectResponse(f"/models?done={done}", 303, headers=HEADERS)


def _said(services: Services, done: str) -> str:
    return t(f"done.{done}", trouble=services.model_error) if done else ""
