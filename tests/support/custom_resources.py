"""Strict validation of a manifest of any kind: an unknown field and a kind without a schema are failures."""

import json
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from pydantic import BaseModel, ValidationError
from support.manifests import Manifest

KUBERNETES = "1.34"
"""Validated against the schemas of this version; nothing newer than apps/v1, batch/v1 and policy/v1 is used."""
MODELS = {
    "keda.sh/v1alpha1": "cloudcoil.models.keda.v1alpha1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}
"""Modules with a model per kind, made from the operators' own definitions."""
SCHEMAS = Path(__file__).parent / "schemas"
"""Definitions that no package brings: the fields in use, nothing else."""


class InvalidManifest(Exception):
    """Says which manifest, and what is wrong with it."""


def validate(manifest: Manifest, origin: object) -> None:
    """Raises InvalidManifest."""
    try:
        _validate_once(json.dumps(manifest, sort_keys=True))
    except InvalidManifest as error:
        name = manifest.get("metadata", {}).get("name")
        raise InvalidManifest(f"{origin}: {manifest['kind']} {name}: {error}") from None


@cache
def _validate_once(text: str) -> None:
    manifest = json.loads(text)
    version, kind = manifest["apiVersion"], manifest["kind"]
    schema = SCHEMAS / f"{kind.lower()}-{version.replace('/', '-')}.yaml"
    if kind == "ScaledJob":
        manifest = _validate_the_job_inside(manifest)
    if version in MODELS:
        _validate_by_model(manifest, MODELS[version])
    elif schema.exists():
        _validate_by_schema(manifest, schema)
    else:
        _validate_as_kubernetes_does(manifest)


def _validate_the_job_inside(scaled_job: Manifest) -> Manifest:
    """By the schema of a Job, which is stricter than the model of KEDA; returns the ScaledJob without it."""
    spec = scaled_job["spec"].get("jobTargetRef", {})
    _validate_as_kubernetes_does({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": spec})
    without: Manifest = {"template": {"spec": {"containers": []}}}
    return {**scaled_job, "spec": {**scaled_job["spec"], "jobTargetRef": without}}


def _validate_as_kubernetes_does(manifest: Manifest) -> None:
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        raise InvalidManifest(error.message) from error


def _validate_by_schema(manifest: Manifest, path: Path) -> None:
    try:
        jsonschema.validate(manifest, yaml.safe_load(path.read_text()))
    except jsonschema.ValidationError as error:
        raise InvalidManifest(f"{error.json_path}: {error.message}") from error


def _validate_by_model(manifest: Manifest, module: str) -> None:
    model: type[BaseModel] | None = getattr(import_module(module), manifest["kind"], None)
    if model is None:
        raise InvalidManifest(f"no schema of {manifest['apiVersion']} {manifest['kind']}")
    try:
        parsed = model.model_validate(manifest)
    except ValidationError as error:
        raise InvalidManifest(str(error)) from error
    kept = parsed.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if lost := sorted(_paths(manifest) - _paths(kept)):
        raise InvalidManifest(f"unknown fields: {', '.join(lost)}")


def _paths(value: Any, path: str = "") -> set[str]:
    """Where the leaves of a document are."""
    if isinstance(value, dict) and value:
        return {found for key, each in value.items() for found in _paths(each, f"{path}.{key}")}
    if isinstance(value, list) and value:
        return {found for position, each in enumerate(value) for found in _paths(each, f"{path}[{position}]")}
    return {path}
