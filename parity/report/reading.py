"""Reports that were written: a ``parity.json`` back into a report that a gate can decide on."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import Any, cast, get_args

from tinynet.utils.strict_json import DocumentError, check_document, parse_document, read_text

from parity.results import (
    REPORT_VERSION,
    CheckResult,
    Comparison,
    Kind,
    Report,
    with_present_names,
)


class ReportError(DocumentError):
    """A file that is no report, one of another version, or one that contradicts itself.

    The message is one line.
    """


def load_report(path: str | os.PathLike[str]) -> Report:
    """Reads a report as far as a document holds it.

    A document has all failures of a check, but of what passed only the closest comparison. So a
    check comes back with its failures or, if there are none, with that one.

    Args:
        path: a ``parity.json``, or what a command printed with ``--json``.

    Raises:
        ReportError: naming the file, the place in it, what was found and what was expected.
    """
    source = os.fspath(path)
    try:
        document = _in_this_version(parse_document(read_text(path), source))
        check_document(document, _SCHEMA, source)
    except DocumentError as error:
        raise ReportError(str(error)) from None
    checks = tuple(_check(check) for check in document["checks"])
    for index, check in enumerate(checks):
        written = document["checks"][index]
        place = f"{source}: checks[{index}]"
        _check_outcome(f"{place}.failed", written["failed"], len(check.failures))
        _check_outcome(f"{place}.passed", written["passed"], check.passed)
        compared = bool(check.comparisons) and not check.skipped
        _check_outcome(f"{place}.compared > 0", written["compared"] > 0, compared)
    name, times = Counter(check.name for check in checks).most_common(1)[0]
    if times > 1:
        raise ReportError(f"{source}: checks has {name} {times} times, expected once")
    fields = {name: document[name] for name in ("spec", "weights", "command", "environment")}
    report = Report(**fields, checks=checks, seconds=document["seconds"])
    _check_outcome(f"{source}: passed", document["passed"], report.passed)
    return report


def _in_this_version(document: Any) -> Any:
    # Version 1 says the same under other names.
    if isinstance(document, dict) and cast("dict[str, Any]", document).get("report_version") == 1:
        return {**with_present_names(document), "report_version": REPORT_VERSION}
    return document


def _check(document: dict[str, Any]) -> CheckResult:
    worst = document["worst"]
    comparisons = [_comparison(item) for item in document["failures"] or ([worst] if worst else [])]
    return CheckResult(
        name=document["name"],
        title=document["title"],
        unit=worst["unit"] if worst else "",
        reason="",
        comparisons=tuple(comparisons),
        seconds=document["seconds"],
        skipped=document.get("skipped", ""),
    )


def _comparison(document: dict[str, Any]) -> Comparison:
    fields = {name: document[name] for name in ("candidate", "where", "kind", "note")}
    for name in ("error", "bound", "noise"):
        # JSON has no infinity.
        fields[name] = math.inf if document[name] is None else document[name]
    return Comparison(**fields)


def _check_outcome(place: str, found: bool | int, expected: bool | int) -> None:
    if found != expected:
        raise ReportError(f"{place} is {found}, expected {expected}, as the numbers under it say")


def _object(description: str, properties: dict[str, Any], optional: str = "") -> dict[str, Any]:
    # Other fields may stand beside them, for those who read more of a report than its result.
    required = [name for name in properties if name != optional]
    return {
        "type": "object", "description": description,
        "properties": properties, "required": required,
    }  # fmt: skip


_TEXT: dict[str, Any] = {"type": "string", "description": "a text"}
_FLAG: dict[str, Any] = {"type": "boolean", "description": "true or false"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0, "description": "a whole number from 0"}
_SECONDS: dict[str, Any] = {"type": "number", "minimum": 0, "description": "a number from 0"}
_DISTANCE: dict[str, Any] = {
    "type": ["number", "null"], "minimum": 0, "description": "a number from 0, or null for infinity"
}  # fmt: skip
_COMPARISON = _object(
    "a comparison",
    {
        **dict.fromkeys(("where", "candidate", "unit", "note"), _TEXT),
        "kind": {"enum": list(get_args(Kind)), "description": f"one of {get_args(Kind)}"},
        **dict.fromkeys(("error", "bound", "noise"), _DISTANCE),
    },
)
_CHECK = _object(
    "a check",
    {
        **dict.fromkeys(("name", "title"), _TEXT),
        "passed": _FLAG,
        **dict.fromkeys(("compared", "failed"), _COUNT),
        "worst": {**_COMPARISON, "type": ["object", "null"], "description": "a comparison or null"},
        "failures": {"type": "array", "items": _COMPARISON, "description": "a list of comparisons"},
        "seconds": _SECONDS,
        "skipped": {"type": "string", "minLength": 1, "description": "a reason"},
    },
    optional="skipped",
)
_SCHEMA = _object(
    "a parity report, a JSON object",
    {
        "report_version": {
            "const": REPORT_VERSION,
            "description": f"{REPORT_VERSION}, that of the reports this version writes, or 1",
        },
        "passed": _FLAG,
        **dict.fromkeys(("spec", "weights", "command"), _TEXT),
        "checks": {
            "type": "array", "minItems": 1, "items": _CHECK, "description": "at least one check",
        },
        "environment": {
            "type": "object", "additionalProperties": _TEXT, "description": "name -> text",
        },
        "seconds": _SECONDS,
    },
)  # fmt: skip
