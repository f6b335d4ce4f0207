"""The Kubernetes manifests match the schemas, each other, and the compose file."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.conftest import ROOT

FOLDER = ROOT / "docker" / "kubernetes"
OVERLAYS = [FOLDER, FOLDER / "journal"]
VERSIONS = ["1.30", "1.34"]
KINDS = {
    "Namespace",
    "ConfigMap",
    "Deployment",
    "Service",
    "Ingress",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
}

Resource = dict[str, Any]


def patch(resource: Resource, operations: list[dict[str, Any]]) -> None:
    """The operations of JSON Patch (RFC 6902) that the overlays use."""
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        place: Any = resource
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place[step]
        match operation["op"], last:
            case "add", "-":
                place.append(operation["value"])
            case "remove", _:
                del place[last]
            case _:
                raise NotImplementedError(operation)


def built(folder: Path) -> dict[str, Resource]:
    """What `kubectl kustomize` makes of a folder, by kind."""
    recipe = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(recipe) <= {"apiVersion", "kind", "namespace", "resources", "patches", "images"}
    found: dict[str, Resource] = {}
    for name in recipe["resources"]:
        path = (folder / name).resolve()
        more = built(path) if path.is_dir() else {}
        if path.is_file():
            more = {each["kind"]: each for each in yaml.safe_load_all(path.read_text())}
        assert not set(more) & set(found)
        found |= more
    for change in recipe.get("patches", []):
        resource = found[change["target"]["kind"]]
        assert resource["metadata"]["name"] == change["target"]["name"]
        patch(resource, yaml.safe_load(change["patch"]))
    return found


@pytest.fixture(scope="module")
def resources() -> dict[str, Resource]:
    return built(FOLDER)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", OVERLAYS, ids=lambda folder: folder.name)
def test_every_resource_fits_its_schema(folder: Path, version: str) -> None:
    found = built(folder)
    assert set(found) >= KINDS
    for resource in found.values():
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_misspelt_field_would_be_found(resources: dict[str, Resource]) -> None:
    wrong = deepcopy(resources["Deployment"])
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_file_is_used() -> None:
    used = {"kustomization.yaml"} | {
        name for folder in OVERLAYS for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    }
    assert {path.name for path in FOLDER.rglob("*.yaml")} - used == set()


def test_selectors_and_references_fit(resources: dict[str, Resource]) -> None:
    template = resources["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert resources["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert resources["Service"]["spec"]["selector"] == labels
    assert resources["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert resources["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert resources["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "rosette"
    backend = resources["Ingress"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    [port] = resources["Service"]["spec"]["ports"]
    [container] = template["spec"]["containers"]
    assert (backend["name"], backend["port"]["name"]) == (resources["Service"]["metadata"]["name"], port["name"])
    assert port["targetPort"] == container["ports"][0]["name"]
    assert {each["metadata"].get("namespace", "rosette") for each in resources.values()} == {"rosette"}
    for folder in OVERLAYS:
        pod = built(folder)["Deployment"]["spec"]["template"]["spec"]
        mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_pods_are_as_hardened_as_the_stack(resources: dict[str, Resource]) -> None:
    pod = resources["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["automountServiceAccountToken"] is False
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_settings_are_known(resources: dict[str, Resource]) -> None:
    """Kubernetes itself would set ROSETTE_PORT for a service of this name, to what is no port."""
    known = {f"ROSETTE_{name.upper()}" for name in Settings.model_fields} | {"ROSETTE_JOURNAL_BYTES"}
    assert set(resources["ConfigMap"]["data"]) <= known
    assert resources["Deployment"]["spec"]["template"]["spec"]["enableServiceLinks"] is False
