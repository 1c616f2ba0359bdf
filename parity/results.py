"""What a parity run finds, and when it has passed: comparisons, checks and the whole report.

A comparison passes within its bound, a check when all its comparisons do, a report when all its
checks do. Whether that is enough for a CI is decided in :mod:`parity.gate`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, TypedDict

Kind = Literal["value", "bits", "shape", "missing", "unexpected", "not finite", "error"]


class Origin(TypedDict, total=False):
    """Where the numbers of a comparison come from, for a tracer; people read its texts.

    ``framework`` is the twin that made them in ``mode``, empty for what both twins share; ``part``
    is the part of the check, in its own words; ``moved_from`` the twin that a run was moved from.
    """

    framework: str
    mode: str
    part: str
    moved_from: str


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison. The last four attributes are those of :class:`Origin`.

    Attributes:
        candidate: what was compared with the reference, such as "mindspore graph"; a text.
        where: the layer, key, file or photograph it is about.
        error: distance from the reference, in the check's unit; infinite where no number says it.
        bound: the largest error that passes; 0 asks for identical bits.
        noise: the float32 rounding noise that the bound is a multiple of; 0 where it is none.
        kind: what sort of difference it is, if it is one.
        note: what a person should know, such as an exception's message.
        quantity: the row of :data:`parity.tolerances.bounds.BOUNDS` that the bound is from, if any.
    """

    candidate: str
    where: str
    error: float
    bound: float
    noise: float = 0.0
    kind: Kind = "value"
    note: str = ""
    quantity: str = ""
    framework: str = ""
    mode: str = ""
    part: str = ""
    moved_from: str = ""

    @property
    def passed(self) -> bool:
        """Says whether the error is within its bound; one that is not finite never is.

        A bound becomes infinite when the reference or the baseline itself overflows.
        """
        return math.isfinite(self.bound) and self.error <= self.bound

    @property
    def severity(self) -> float:
        """Returns the error as a multiple of the bound: above 1 is a failure."""
        if 0 < self.bound < math.inf:
            return self.error / self.bound
        return 0.0 if self.passed else math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """Numbers from step to step, the first of them at ``first``, such as a run's losses."""

    label: str
    values: tuple[float, ...]
    first: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """One check, and all that was compared for it; ``skipped`` says why a spec cannot run it."""

    name: str
    title: str
    unit: str
    reason: str
    comparisons: tuple[Comparison, ...]
    seconds: float
    series: tuple[Series, ...] = ()
    skipped: str = ""

    @property
    def passed(self) -> bool:
        """Says whether all passed; a check that compared nothing, and might have, did not."""
        return bool(self.comparisons or self.skipped) and not self.failures

    @property
    def worst(self) -> Comparison | None:
        """Picks the comparison that came closest to its bound, or went farthest beyond it."""
        return max(self.comparisons, key=lambda item: (item.severity, item.error), default=None)

    @property
    def failures(self) -> list[Comparison]:
        """Lists what did not pass, in the order in which it was compared."""
        return [item for item in self.comparisons if not item.passed]


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """Where a failure of a check was traced to.

    ``operation`` is what is computed there, such as "batch_norm in evaluation mode", ``direction``
    the way in which numbers flow, ``framework`` the twin that is off ("tinynet" where both go wrong
    alike, empty if not known). The class or function ``definition`` of ``file`` answers for it,
    ``explanation`` is for a person, and ``script`` is standalone Python that shows the difference.
    ``where``, ``error``, ``noise`` and ``bound`` are as in a :class:`Comparison`.
    """

    check: str
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
    checks: tuple[CheckResult, ...]
    environment: dict[str, str]
    seconds: float
    divergence: Divergence | None = None

    @property
    def passed(self) -> bool:
        """Says whether every check passed, and at least one was run."""
        ran = [check for check in self.checks if not check.skipped]
        return bool(ran) and all(check.passed for check in ran)

    @property
    def first_divergence(self) -> tuple[CheckResult, Comparison] | None:
        """Picks the first failure of the first check that failed: where to look first.

        Checks build on one another, and comparisons within a check are in the order data flows, so
        what fails first is nearest to the cause.
        """
        return next(((each, each.failures[0]) for each in self.checks if each.failures), None)
