"""The schema and the page of the chart, from `values.yaml` (its comments are the manual) and the configuration."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from delivery.route.endpoint import Grant
from jetpost.config.explain import RENAMED
from jetpost.config.load import configuration_model
from jetpost.config.units import unit_of

CHART = Path(__file__).parents[1] / "deploy/helm/jetpost"
OWN = ("hostname", "nats", "http")
"""Sections that the chart writes itself, and that `config` may therefore not have."""
_SOURCE = "values.yaml and the models of the configuration"
_KEY = re.compile(r"( *)(\w+):")
_NETWORKS = {"items": {"type": "string", "pattern": r"^[0-9A-Fa-f.:]+/[0-9]+$"}}
_NAMED = {"items": {"type": "object", "required": ["name"]}}
_OR_NOBODYS = {"type": ["integer", "null"]}
_SHARE = {"minimum": 1, "maximum": 100}
_ALLOWED: dict[str, dict[str, Any]] = {
    "hostname": {"minLength": 1},
    "secrets.create": {"enum": ["helm", "job"]},
    "networkPolicy.apiPorts": {"items": {"type": "integer", "minimum": 1, "maximum": 65535}, "minItems": 1},
    "image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "nats.bundled.replicas": {"enum": [1, 3, 5]},
    "nats.bundled.antiAffinity": {"enum": ["soft", "hard"]},
    "nats.bundled.storage.size": {"pattern": "^[1-9][0-9]*(M|G|T|Mi|Gi|Ti)$"},
    "nats.bundled.storage.maxFileStore": {"pattern": "^([1-9][0-9]*(MB|GB|TB))?$"},
    "nats.bundled.storage.whenDeleted": {"enum": ["Retain", "Delete"]},
    "nats.bundled.storage.whenScaled": {"enum": ["Retain", "Delete"]},
    "nats.bundled.goMemLimit": {"pattern": "^[0-9]+(MiB|GiB)$"},
    "nats.bundled.lameDuckSeconds": {"minimum": 30},
    "nats.servers": {"items": {"type": "string", "pattern": "^(nats|tls)://"}},
    "nats.monitoring": {"items": {"type": "string", "pattern": "^https?://"}},
    "dkim.secrets": {"items": {"type": "string", "minLength": 1}, "uniqueItems": True},
    "dkim.create": {
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["domain", "selector"],
            "properties": {
                "domain": {"type": "string", "pattern": r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", "maxLength": 200},
                "selector": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$"},
                "kind": {"enum": ["rsa", "ed25519"]},
            },
        },
        "uniqueItems": True,
    },
    "ingress.users": {"additionalProperties": {"type": "string", "pattern": r"^\$argon2(id|i|d)\$"}},
    "ingress.service.ports": {"additionalProperties": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "ingress.service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "ingress.service.externalTrafficPolicy": {"enum": ["Cluster", "Local"]},
    "ingress.service.sessionAffinity": {"enum": ["None", "ClientIP"]},
    "ingress.service.ipFamilyPolicy": {"enum": ["SingleStack", "PreferDualStack", "RequireDualStack"]},
    "ingress.service.loadBalancerSourceRanges": _NETWORKS,
    "ingress.service.proxyProtocolFrom": _NETWORKS,
    "ingress.gateway.parentRefs": _NAMED,
    "ingress.hpa.targetCPU": _SHARE,
    "delivery.hpa.targetCPU": _SHARE,
    "delivery.keda.minReplicas": {"minimum": 1},
    "delivery.keda.waitingSeconds": {"minimum": 1},
    "delivery.keda.depth": {"minimum": 1},
    "delivery.keda.prometheus": {"pattern": "^(https?://.*)?$"},
    "delivery.unbound.forward": {"additionalProperties": {"type": "array", "items": {"type": "string"}}},
    "networkPolicy.clients": _NETWORKS,
    "networkPolicy.destinations": _NETWORKS,
    "networkPolicy.metricsFrom": {"items": {"type": "object", "minProperties": 1}},
    "networkPolicy.dnsPorts": {"items": {"type": "integer", "minimum": 1, "maximum": 65535}, "minItems": 1},
    "ingress.replicas": _OR_NOBODYS,
    "delivery.replicas": _OR_NOBODYS,
    "bouncer.replicas": _OR_NOBODYS,
    "monitoring.alerts.runbooks": {"pattern": "^(https?://.+/)?$"},
    "imagePullSecrets": _NAMED,
}
"""What cannot be seen from a default."""
_OPEN = re.compile(
    r"(.*\.resources|.*[aA]nnotations|(.*\.)?(nodeSelector|affinity|labels|podLabels)|.*\.issuerRef"
    r"|ingress\.(service\.ports|users)|delivery\.unbound\.forward)"
)
"""Mappings whose keys are Kubernetes' business or the operator's."""


class Value(NamedTuple):
    """One value of the chart."""

    path: str
    about: str
    """Its comment, as one paragraph."""
    default: Any


def values() -> Iterator[Value]:
    """Every value of `values.yaml`, with the comment right above it."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    comment: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        found = _KEY.match(line)
        if line.lstrip().startswith("#"):
            comment.append(line.lstrip("# "))
        elif found:
            path = [*path[: len(found[1]) // 2], found[2]]
            if not any(_OPEN.fullmatch(".".join(path[:depth])) for depth in range(1, len(path))):
                yield Value(".".join(path), " ".join(comment), _at(data, path))
            comment = []
        else:
            comment = []


def schema() -> str:
    """`values.schema.json`: refuses what `values.yaml` does not have, and what the configuration does not."""
    configuration = _chosen_by_presets(configuration_model().model_json_schema())
    for section in OWN:
        del configuration["properties"][section]
    definitions = {name: _with_units(model) for name, model in configuration.pop("$defs").items()}
    for old, new in RENAMED.items():
        if old.partition(".")[0] not in OWN:
            _refuse_renamed(old.split("."), new, configuration, definitions)
    root = _schema_of("", {}, "", {value.path: value for value in values()})
    root["properties"]["config"] = configuration
    # Values that Helm itself passes along.
    root["properties"]["global"] = {"type": "object"}
    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"Generated by `make generate` from {_SOURCE}: change them there.",
    }
    return json.dumps({**head, **root, "$defs": definitions}, indent=2) + "\n"


def _chosen_by_presets(schema: Any) -> Any:
    """The schema, in which a `kind` that has a default may be left out: a preset sets it."""
    if isinstance(schema, list):
        return [_chosen_by_presets(it) for it in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _chosen_by_presets(it) for name, it in schema.items()}
    if made.get("discriminator", {}).get("mapping", {}).keys() == {it.value for it in Grant}:
        made["anyOf"] = made.pop("oneOf")
        del made["discriminator"]
    return made


def _with_units(model: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section, with the texts that durations and sizes may be as well."""
    for name, value in model.get("properties", {}).items():
        unit = unit_of(name)
        if unit is None or value.get("type") not in {"number", "integer"}:
            continue
        bounds = {key: value.pop(key) for key in list(value) if key not in {"default", "description", "title"}}
        value["anyOf"] = [bounds, {"type": "string", "pattern": unit.pattern}]
    return model


def _refuse_renamed(path: list[str], new: str, configuration: dict[str, Any], models: dict[str, Any]) -> None:
    """Let helm's message about a renamed key have the new name: the one value that the schema takes says it."""
    model = configuration
    for element in path[:-1]:
        inner = model["items"] if element == "*" else model["properties"][element]
        model = models[inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
    model["properties"][path[-1]] = {"enum": [f"renamed to config.{new}"]}


def _schema_of(path: str, default: Any, about: str, known: dict[str, Value]) -> dict[str, Any]:
    described = {"description": about} if about else {}
    if isinstance(default, dict):
        inner = {
            name: _schema_of(value.path, value.default, value.about, known)
            for name, value in ((it.path.rpartition(".")[2], it) for it in known.values())
            if value.path.rpartition(".")[0] == path
        }
        closed = {} if _OPEN.fullmatch(path) else {"additionalProperties": False, "properties": inner}
        return {**described, "type": "object", **closed, **_ALLOWED.get(path, {})}
    kind = {bool: "boolean", int: "integer", str: "string", list: "array"}[type(default)]
    least = {"minimum": 0} if kind == "integer" else {}
    return {**described, "type": kind, **least, **_ALLOWED.get(path, {})}


def _at(data: Any, path: list[str]) -> Any:
    for name in path:
        data = data[name]
    return data


def page() -> str:
    """The chart's README: every value, its default and its comment."""
    head = f"<!-- Generated by `make generate` from {_SOURCE}: change them there. -->\n\n# The Jetpost chart\n\n"
    intro = (CHART / "values.yaml").read_text(encoding="utf-8").split("\n\n", 1)[0]
    lines = [head, " ".join(line.lstrip("# ") for line in intro.splitlines()), "\n"]
    for value in values():
        shown = "" if isinstance(value.default, dict) and value.default else f", default `{json.dumps(value.default)}`"
        lines.append(f"\n- **`{value.path}`**{shown}: {value.about}")
    return "".join(lines) + "\n"
