"""What an audit finds, and its file: one for each version of a framework on a device."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from tinynet.backend import FRAMEWORKS
from tinynet.utils.atomic_files import write_text_atomically
from tinynet.utils.dataclass_json import from_document
from tinynet.utils.strict_json import (
    format_document,
    object_schema,
    read_checked,
    value_schema,
)

from parity.audit.formulas import KINDS, Pattern

# The folder of the shipped audits.
DIRECTORY = Path(__file__).with_name("stored")

_VERSION = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """How far one result of an operator is from the reference.

    Errors are in units of rounding: 2^-24 times the size of the terms that a number is a sum of.

    Attributes:
        operator: the operator's name.
        quantity: which of its results.
        largest: the largest error; infinite where a result is not finite.
        where: the shapes and the element that it was found at.
        median: of the largest errors of the single arrays.
        arrays: how many were compared.
    """

    operator: str
    quantity: str
    largest: float
    where: str
    median: float
    arrays: int


@dataclasses.dataclass(frozen=True, slots=True)
class Audit:
    """All operators of a twin on a device.

    Attributes:
        device: what the framework calls it.
        machine: the system and processor.
        command: what makes it again.
        measured_on: the day, in ISO's form.
        patterns: operator -> which formula it follows at which position of a tensor.
    """

    framework: str
    version: str
    device: str
    machine: str
    command: str
    measured_on: str
    sizes: tuple[int, ...]
    rows: tuple[Row, ...]
    patterns: dict[str, Pattern]

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.framework}-{self.version}-{self.device}.json"

    @property
    def title(self) -> str:
        """The framework, its version and the device."""
        return f"{FRAMEWORKS[self.framework]} {self.version}, {self.device}"


def audit_document(audit: Audit) -> dict[str, Any]:
    """Returns the audit as a JSON document; an error that is not finite is null."""
    document: dict[str, Any] = {"audit_version": _VERSION, **dataclasses.asdict(audit)}
    for row in document["rows"]:
        row |= {key: None for key in ("largest", "median") if not math.isfinite(row[key])}
    return document


def save_audit(audit: Audit, folder: Path) -> Path:
    """Writes an audit under the name of what was audited, and says where.

    Raises:
        DocumentError: the file cannot be placed there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / audit.file_name
    write_text_atomically(path, format_document(audit_document(audit), rows="rows"))
    return path


def load_audit(path: Path) -> Audit:
    """Reads an audit.

    Raises:
        DocumentError: the file is missing or not an audit.
    """
    document = read_checked(path, _SCHEMA)
    del document["audit_version"]
    for row in document["rows"]:
        row |= {key: math.inf for key in ("largest", "median") if row[key] is None}
    patterns = {name: Pattern(**found) for name, found in document["patterns"].items()}
    return from_document(Audit, document | {"patterns": patterns})


_TEXT = value_schema("string", "a text")
_NAME = value_schema("string", "a name", pattern=r"^[\w.]+$")
_ERROR = value_schema(["number", "null"], "a number from 0, or null", minimum=0)
_COUNT = value_schema("integer", "a number from 1", minimum=1)
_PATTERN = object_schema(
    "a pattern",
    {
        "kind": {"enum": list(KINDS), "description": f"one of {', '.join(KINDS)}"},
        "length": value_schema("integer", "a number from 0", minimum=0),
        "positions": value_schema(
            "object", "formula -> positions", minProperties=1, additionalProperties=_TEXT
        ),
    },
)
_ROW = object_schema(
    "a row of the audit",
    {
        **dict.fromkeys(("operator", "quantity"), _TEXT),
        "largest": _ERROR,
        "where": _TEXT,
        "median": _ERROR,
        "arrays": _COUNT,
    },
)
_SCHEMA = object_schema(
    "an audit",
    {
        "audit_version": {"const": _VERSION, "description": f"{_VERSION}, the only one there is"},
        "framework": {"enum": list(FRAMEWORKS), "description": f"one of {', '.join(FRAMEWORKS)}"},
        **dict.fromkeys(("version", "device"), _NAME),
        **dict.fromkeys(("machine", "command", "measured_on"), _TEXT),
        "sizes": value_schema("array", "numbers", minItems=1, items=_COUNT),
        "rows": value_schema("array", "rows", items=_ROW),
        "patterns": value_schema("object", "patterns", additionalProperties=_PATTERN),
    },
)
