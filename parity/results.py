"""What a parity run finds: evidence, rungs of the ladder, and the whole report."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

# Of the JSON document; it changes when what reads one would misread the other.
REPORT_VERSION = 1

Kind = Literal["value", "bits", "shape", "missing", "unexpected", "not finite", "error"]


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """One comparison.

    Attributes:
        subject: what was compared with the judge, such as "mindspore graph".
        where: the layer, key, file or photograph it is about.
        error: distance from the judge, in the rung's unit; infinite where no number can say it.
        bound: the largest error that passes; 0 asks for identical bits.
        noise: the float32 rounding noise that the bound is a multiple of; 0 where it is none.
        kind: what sort of difference it is, if it is one.
        note: what a person should know, such as an exception's message.
        quantity: the row of :data:`parity.tolerances.bounds.BOUNDS` that the bound is from, if it
        is.
    """

    subject: str
    where: str
    error: float
    bound: float
    noise: float = 0.0
    kind: Kind = "value"
    note: str = ""
    quantity: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within its bound; an error or bound that is not finite never is.

        A bound becomes infinite when the judge or the reference itself overflows.
        """
        return math.isfinite(self.bound) and self.error <= self.bound

    @property
    def severity(self) -> float:
        """Error as a multiple of the bound: above 1 is a failure."""
        if self.passed:
            return self.error / self.bound if self.bound > 0 else 0.0
        finite = self.bound > 0 and math.isfinite(self.bound)
        return self.error / self.bound if finite else math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """Numbers from step to step, such as a run's losses: one curve of a picture.

    ``first`` is the step of the first one.
    """

    label: str
    values: tuple[float, ...]
    first: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Rung:
    """One rung of the ladder: a quantity, and all that was compared for it.

    ``skipped`` says why a rung cannot be climbed with this spec at all; empty where it can.
    """

    name: str
    title: str
    unit: str
    reason: str
    evidence: tuple[Evidence, ...]
    seconds: float
    series: tuple[Series, ...] = ()
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything passed; a rung that compared nothing, and might have, did not."""
        compared = bool(self.evidence) or bool(self.skipped)
        return compared and all(item.passed for item in self.evidence)

    @property
    def worst(self) -> Evidence | None:
        """The comparison that came closest to its bound, or went farthest beyond it."""
        return max(self.evidence, key=lambda item: (item.severity, item.error), default=None)

    @property
    def failures(self) -> list[Evidence]:
        """What did not pass, in the order in which it was compared."""
        return [item for item in self.evidence if not item.passed]


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """Where a failure was traced to.

    Attributes:
        rung: the rung that failed.
        where: the layer, key or file.
        operation: what is computed there, such as "batch_norm in evaluation mode".
        direction: the way in which numbers flow there.
        framework: the twin that is off; "tinynet" where both go wrong alike, empty if not known.
        file: of the source that answers for it.
        definition: the class or function in that file.
        error: distance from the truth.
        noise: what the bound is a multiple of.
        bound: the largest error that passes.
        explanation: a sentence or two for a person.
        script: a standalone Python script that shows the difference.
    """

    rung: str
    where: str
    operation: str
    direction: Literal["forward", "backward", ""]
    framework: str
    file: str
    definition: str
    error: float
    noise: float
    bound: float
    explanation: str
    script: str


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """A whole parity run. ``command`` repeats it, empty where it was no command."""

    spec: str
    weights: str
    command: str
    rungs: tuple[Rung, ...]
    environment: dict[str, str]
    seconds: float
    divergence: Divergence | None = None

    @property
    def passed(self) -> bool:
        """Whether every rung passed, and at least one was climbed."""
        climbed = [rung for rung in self.rungs if not rung.skipped]
        return bool(climbed) and all(rung.passed for rung in climbed)

    @property
    def first_divergence(self) -> tuple[Rung, Evidence] | None:
        """The first failure of the lowest rung that failed: where to look first.

        Rungs stand on one another, and within a rung evidence is in the order data flows, so what
        fails first is nearest to the cause.
        """
        for rung in self.rungs:
            if rung.failures:
                return rung, rung.failures[0]
        return None


def report_document(report: Report) -> dict[str, Any]:
    """The report as a JSON document; the fields are promised in the command's help.

    JSON has no infinity: an error that no number can say is null, and its kind says what it is.
    """
    first, traced = report.first_divergence, report.divergence
    source = {"file": traced.file, "definition": traced.definition} if traced else {}
    return {
        "report_version": REPORT_VERSION,
        "passed": report.passed,
        "spec": report.spec,
        "weights": report.weights,
        "command": report.command,
        "rungs": [_rung_document(rung) for rung in report.rungs],
        "first_divergence": first
        and {"rung": first[0].name, **_evidence_document(first[1], first[0].unit), **source},
        "divergence": traced and _divergence_document(traced),
        "environment": report.environment,
        "seconds": round(report.seconds, 3),
    }


def _divergence_document(divergence: Divergence) -> dict[str, Any]:
    numbers = {name: _finite(getattr(divergence, name)) for name in ("error", "noise", "bound")}
    return dataclasses.asdict(divergence) | numbers


def _rung_document(rung: Rung) -> dict[str, Any]:
    series = [
        dataclasses.asdict(curve) | {"values": [_finite(value) for value in curve.values]}
        for curve in rung.series
    ]
    return {
        "name": rung.name,
        "title": rung.title,
        "passed": rung.passed,
        "compared": len(rung.evidence),
        "failed": len(rung.failures),
        "worst": rung.worst and _evidence_document(rung.worst, rung.unit),
        "failures": [_evidence_document(item, rung.unit) for item in rung.failures],
        "seconds": round(rung.seconds, 3),
        **({"series": series} if series else {}),
        **({"skipped": rung.skipped} if rung.skipped else {}),
    }


def _evidence_document(item: Evidence, unit: str) -> dict[str, Any]:
    return {
        "where": item.where,
        "subject": item.subject,
        "kind": item.kind,
        "error": _finite(item.error),
        "bound": _finite(item.bound),
        "noise": _finite(item.noise),
        "unit": unit,
        "note": item.note,
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
