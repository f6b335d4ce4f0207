"""Which models there are, and which of them serves."""

from __future__ import annotations

from app.inference.model import Model
from app.problems import ModelNotServing, UnknownModel
from app.services import Services


async def serving_model(services: Services, name: str, version: str | None) -> Model:
    """The model that serves, if it is the one that is named.

    Raises:
        UnknownModel: if there is none of this name and version.
        ModelNotServing: if another one serves.
    """
    model = services.serving.state.model
    if model is not None and serves(model, name, version):
        return model
    await versions_of(services, name, version)
    if model is None:
        return services.model  # which says why there is none
    manifest = model.manifest
    raise ModelNotServing(
        f"The model {_named(name, version)} does not serve: {manifest.name} {manifest.version} does. "
        "Ask that one, or have an administrator activate the other."
    )


def serves(model: Model | None, name: str, version: str | None) -> bool:
    """Whether this is the model that is named."""
    return model is not None and model.manifest.name == name and version in (None, model.manifest.version)


async def versions_of(services: Services, name: str, version: str | None) -> list[str]:
    """The versions of a model, newest first; retired ones are left out.

    Raises:
        UnknownModel: if there is none of this name, or not this version.
    """
    entries, _ = await services.io.run(services.registry.listing)
    found = [entry.version for entry in entries if entry.name == name and entry.retired_at is None]
    if not found or version not in (None, *found):
        raise UnknownModel(f"There is no model {_named(name, version)}.")
    return list(dict.fromkeys(found))


def _named(name: str, version: str | None) -> str:
    return f"{name[:64]!r}" if version is None else f"{name[:64]!r} of version {version[:64]!r}"
