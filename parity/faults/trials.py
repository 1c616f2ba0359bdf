"""One fault planted and climbed for, and climbs without any."""

from __future__ import annotations

import dataclasses
import time
from fnmatch import fnmatchcase

from parity.context import subjects_of
from parity.faults import FAULTS
from parity.faults.planting import SPECS, Fault
from parity.results import Report
from parity.suite import LEVELS, climb
from parity.tracing.sources import Source

# Exporting takes longer than all other rungs together, and no other rung stands on these two.
_ASIDE = ("metrics", "onnx")


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a climb with a fault came to.

    Attributes:
        fault: its name.
        reached: whether the climb ran what was planted; if not, nothing is proven.
        caught: whether a rung failed.
        localised: whether rung, place and file are those that the catalogue says.
        defined: whether the definition in the file is, too.
        rung: the lowest that failed; this and the rest are empty where nothing was reported.
        where: the place named first.
        file: the source that was blamed.
        definition: in that file.
        seconds: of the climb.
    """

    fault: str
    reached: bool
    caught: bool
    localised: bool
    defined: bool
    rung: str
    where: str
    file: str
    definition: str
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Clean:
    """What a climb without a fault came to: the rung that failed and the place, empty for none."""

    spec: str
    seed: int
    rung: str
    where: str


def rungs_for(fault: Fault) -> list[str]:
    """The rungs to climb for a fault: up to the one that must fail, where all others pass."""
    names = list(LEVELS)
    below = names[: names.index(fault.rung)]
    return [*(name for name in below if name not in _ASIDE), fault.rung]


def climb_with(name: str) -> Outcome:
    """Plants a fault of the catalogue and climbs up to the rung that must fail, or one that does.

    Compiling graphs takes most of the time of a climb, and no fault here is one of a graph alone:
    so MindSpore runs in PyNative.
    """
    fault = FAULTS[name]
    start = time.perf_counter()
    with fault.inject() as reach:
        report = climb(
            SPECS[fault.spec],
            levels=rungs_for(fault),
            subjects=subjects_of(modes=("pynative",)),
            fail_fast=True,
        )
    rung, where, source = _reported(report)
    # Places have brackets of their own.
    in_place = fnmatchcase(where, fault.where.replace("[", "[[]"))
    localised = in_place and (rung, source.file) == (fault.rung, fault.source.file)
    return Outcome(
        fault=name,
        reached=reach.count > 0,
        caught=bool(rung),
        localised=localised,
        defined=localised and fault.source.definition in ("", source.definition),
        rung=rung,
        where=where,
        file=source.file,
        definition=source.definition,
        seconds=round(time.perf_counter() - start, 1),
    )


def climb_clean(spec: str, seed: int) -> Clean:
    """Climbs every rung without a fault."""
    report = climb(SPECS[spec], seed=seed, subjects=subjects_of(modes=("pynative",)))
    rung, where, _ = _reported(report)
    return Clean(spec, seed, rung, where)


def _reported(report: Report) -> tuple[str, str, Source]:
    first, traced = report.first_divergence, report.divergence
    if first is None:
        return "", "", Source("")
    source = Source(traced.file, traced.definition) if traced else Source("")
    return first[0].name, first[1].where, source
