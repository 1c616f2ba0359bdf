"""What a run with a planted fault comes to, and a run without any."""

from __future__ import annotations

import dataclasses
import time
from fnmatch import fnmatchcase

from parity.candidates import candidates_of
from parity.checks import CHECKS
from parity.faults import FAULTS
from parity.faults.planting import SPECS
from parity.results import Report
from parity.suite import run_checks
from parity.tracing.sources import Source


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run with a fault came to.

    Attributes:
        fault: its name.
        reached: whether the run ran what was planted; if not, nothing is proven.
        caught: whether a check failed.
        localised: whether check, place and file are those that the catalogue says.
        defined: whether the definition in the file is, too.
        check: the lowest that failed; this and the rest are empty where nothing was reported.
        where: the place named first.
        file: the source that was blamed.
        definition: in that file.
        seconds: of the run.
    """

    fault: str
    reached: bool
    caught: bool
    localised: bool
    defined: bool
    check: str
    where: str
    file: str
    definition: str
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Clean:
    """What a run without a fault came to: the check that failed and the place, empty for none."""

    spec: str
    seed: int
    check: str
    where: str


def run_with(name: str) -> Outcome:
    """Plants a fault of the catalogue and runs up to the check that must fail, or one that does.

    Compiling graphs takes most of the time of a run, and no fault here is one of a graph alone:
    so MindSpore runs in PyNative.
    """
    fault = FAULTS[name]
    names = list(CHECKS)
    below = names[: names.index(fault.check)]
    start = time.perf_counter()
    with fault.inject() as reach:
        report = run_checks(
            SPECS[fault.spec],
            checks=[*(check for check in below if not CHECKS[check].exports), fault.check],
            candidates=candidates_of(modes=("pynative",)),
            fail_fast=True,
        )
    check, where, source = _reported(report)
    # Places have brackets of their own.
    in_place = fnmatchcase(where, fault.where.replace("[", "[[]"))
    localised = in_place and (check, source.file) == (fault.check, fault.source.file)
    return Outcome(
        fault=name,
        reached=reach.count > 0,
        caught=bool(check),
        localised=localised,
        defined=localised and fault.source.definition in ("", source.definition),
        check=check,
        where=where,
        file=source.file,
        definition=source.definition,
        seconds=round(time.perf_counter() - start, 1),
    )


def run_clean(spec: str, seed: int) -> Clean:
    """Runs every check without a fault."""
    report = run_checks(SPECS[spec], seed=seed, candidates=candidates_of(modes=("pynative",)))
    check, where, _ = _reported(report)
    return Clean(spec, seed, check, where)


def _reported(report: Report) -> tuple[str, str, Source]:
    first, traced = report.first_divergence, report.divergence
    if first is None:
        return "", "", Source("")
    source = Source(traced.file, traced.definition) if traced else Source("")
    return first[0].name, first[1].where, source
