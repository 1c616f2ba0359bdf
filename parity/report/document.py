"""A report as a JSON document, ``parity.json``, and back."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from typing import Any, cast, get_args

from tinynet.utils import strict_json
from tinynet.utils.strict_json import DocumentError, value_schema

from parity.results import CheckResult, Comparison, Kind, Report

# It changes when what reads one version would misread another.
REPORT_VERSION = 2
# What keys were called in version 1.
_FORMER_KEYS = {"rungs": "checks", "rung": "check", "subject": "candidate"}
_TEXTS, _NUMBERS = ("where", "candidate", "kind", "note"), ("error", "bound", "noise")


class ReportError(DocumentError):
    """Not a report, one of another version, or one that contradicts itself; a message of a line."""


def report_document(report: Report) -> dict[str, Any]:
    """Returns the report as a JSON document; the fields are promised in the command's help.

    JSON has no infinity: an error that no number can say is null, and its kind names it.
    """
    traced, first = report.divergence, None
    if report.first_divergence:
        check, item = report.first_divergence
        source = {"file": traced.file, "definition": traced.definition} if traced else {}
        first = {"check": check.name, **_comparison_document(item, check.unit), **source}
    document = {
        "report_version": REPORT_VERSION,
        "passed": report.passed,
        "spec": report.spec,
        "weights": report.weights,
        "command": report.command,
        "checks": [_check_document(check) for check in report.checks],
        "first_divergence": first,
        "divergence": traced and dataclasses.asdict(traced),
        "environment": report.environment,
        "seconds": round(report.seconds, 3),
    }
    return json.loads(json.dumps(document), parse_constant=lambda infinity: None)


def _check_document(check: CheckResult) -> dict[str, Any]:
    series = [dataclasses.asdict(curve) for curve in check.series]
    return {
        "name": check.name,
        "title": check.title,
        "passed": check.passed,
        "compared": len(check.comparisons),
        "failed": len(check.failures),
        "worst": check.worst and _comparison_document(check.worst, check.unit),
        "failures": [_comparison_document(item, check.unit) for item in check.failures],
        "seconds": round(check.seconds, 3),
        **({"series": series} if series else {}),
        **({"skipped": check.skipped} if check.skipped else {}),
    }


def _comparison_document(item: Comparison, unit: str) -> dict[str, Any]:
    return {name: getattr(item, name) for name in (*_TEXTS, *_NUMBERS)} | {"unit": unit}


def load_report(path: str | os.PathLike[str]) -> Report:
    """Reads a report as far as a document holds it: of a check the failures, or else the worst.

    Args:
        path: a ``parity.json``, or what a command printed with ``--json``, of version 1 or 2.

    Raises:
        ReportError: naming the file, the place in it, what was found and what was expected.
    """
    source = os.fspath(path)
    with strict_json.raised_as(ReportError):
        found = strict_json.parse_document(strict_json.read_text(path), source)
        document = _in_this_version(found)
        strict_json.check_document(document, _SCHEMA, source)
    checks = tuple(_check(check) for check in document["checks"])
    for index, (check, written) in enumerate(zip(checks, document["checks"], strict=True)):
        place = f"{source}: checks[{index}]"
        _check_outcome(f"{place}.failed", written["failed"], len(check.failures))
        _check_outcome(f"{place}.passed", written["passed"], check.passed)
        compared = bool(check.comparisons) and not check.skipped
        _check_outcome(f"{place}.compared > 0", written["compared"] > 0, compared)
    name, times = Counter(check.name for check in checks).most_common(1)[0]
    if times > 1:
        raise ReportError(f"{source}: checks has {name} {times} times, expected once")
    names = ("spec", "weights", "command", "environment", "seconds")
    report = Report(checks=checks, **{name: document[name] for name in names})
    _check_outcome(f"{source}: passed", document["passed"], report.passed)
    return report


def _in_this_version(document: Any) -> Any:
    parts = cast("dict[str, Any]", document if isinstance(document, dict) else {})
    if parts.get("report_version") != 1:
        return cast("Any", document)
    return {**with_present_keys(parts), "report_version": REPORT_VERSION}


def with_present_keys(document: Any) -> Any:
    """Puts a document of version 1, a report or known differences, under the keys of today.

    A key stays as it is where the one of today stands beside it.
    """

    def renamed(parts: dict[str, Any]) -> dict[str, Any]:
        names = {key: _FORMER_KEYS.get(key, key) for key in parts}
        return {key if names[key] in parts else names[key]: parts[key] for key in parts}

    return json.loads(json.dumps(document), object_hook=renamed)


def _check(document: dict[str, Any]) -> CheckResult:
    name, title, worst = document["name"], document["title"], document["worst"]
    found = document["failures"] or ([worst] if worst else [])
    comparisons, unit = tuple(map(_comparison, found)), worst["unit"] if worst else ""
    seconds, skipped = document["seconds"], document.get("skipped", "")
    return CheckResult(name, title, unit, "", comparisons, seconds, skipped=skipped)


def _comparison(document: dict[str, Any]) -> Comparison:
    fields: dict[str, Any] = {key: document[key] for key in (*_TEXTS, *_NUMBERS)}
    fields |= {key: math.inf for key in _NUMBERS if fields[key] is None}
    return Comparison(**fields)


def _check_outcome(place: str, found: int, expected: int) -> None:
    if found != expected:
        raise ReportError(f"{place} is {found}, expected {expected}, as the numbers under it say")


def _object(description: str, properties: dict[str, Any], optional: str = "") -> dict[str, Any]:
    # Other fields may be beside them, for those who read more of a report than its result.
    required = [name for name in properties if name != optional]
    return value_schema("object", description, properties=properties, required=required)


_TEXT = value_schema("string", "a text")
_FLAG = value_schema("boolean", "true or false")
_COUNT = value_schema("integer", "a whole number from 0", minimum=0)
_SECONDS = value_schema("number", "a number from 0", minimum=0)
_DISTANCE = value_schema(["number", "null"], "a number from 0, or null for infinity", minimum=0)
_COMPARISON = _object(
    "a comparison",
    {
        **dict.fromkeys((*_TEXTS, "unit"), _TEXT),
        "kind": {"enum": list(get_args(Kind)), "description": f"one of {get_args(Kind)}"},
        **dict.fromkeys(_NUMBERS, _DISTANCE),
    },
)
_CHECK = _object(
    "a check",
    {
        **dict.fromkeys(("name", "title"), _TEXT),
        "passed": _FLAG,
        **dict.fromkeys(("compared", "failed"), _COUNT),
        "worst": {**_COMPARISON, "type": ["object", "null"], "description": "a comparison or null"},
        "failures": value_schema("array", "a list of comparisons", items=_COMPARISON),
        "seconds": _SECONDS,
        "skipped": value_schema("string", "a reason", minLength=1),
    },
    optional="skipped",
)
_THIS_VERSION = f"{REPORT_VERSION}, that of the reports this version writes, or 1"
_SCHEMA = _object(
    "a parity report, a JSON object",
    {
        "report_version": {"const": REPORT_VERSION, "description": _THIS_VERSION},
        "passed": _FLAG,
        **dict.fromkeys(("spec", "weights", "command"), _TEXT),
        "checks": value_schema("array", "at least one check", minItems=1, items=_CHECK),
        "environment": value_schema("object", "name -> text", additionalProperties=_TEXT),
        "seconds": _SECONDS,
    },
)
