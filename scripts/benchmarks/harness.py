"""Races: contestants that do the same job run in turn, each in a process of its own.

A process of its own, because an allocator, a number of threads or a processor's limit is a
setting of a whole process, and because frameworks in one process disturb each other.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, cast

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]

# A round lasts at least so long, so that the clock and the pipe do not count.
_SHORTEST_ROUND = 0.1

# What a contestant's process runs. The root first: parity.py in scripts would hide the package.
_SERVE = "import sys; sys.path[:0] = {paths}; from benchmarks.harness import serve; serve()"
# A checkout from before this folder was there serves its contestants with this file and these
# modules, which take the same requests.
_OLD_HARNESS = "scripts/_benchmark_race.py"
_OLD_MODULES = {
    "benchmarks.train": "_benchmark_training",
    "benchmarks.infer": "_benchmark_inference",
    "benchmarks.data": "_benchmark_data",
}


class UnavailableError(ValueError):
    """A contestant cannot run here. The message says why, and what to install, in one line."""


class RaceError(ValueError):
    """A contestant's process failed. Its own message is on standard error."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What a contestant times.

    Args:
        once: does the job once; may leave it queued on a device.
        settle: waits until all that is queued is done.
        warm_up: how often it is done before it is timed. With 0 each round does it just once.
        prepare: makes a round ready for it, untimed.
    """

    once: Callable[[], object]
    settle: Callable[[], object] = lambda: None
    warm_up: int = 2
    prepare: Callable[[], object] = lambda: None


@dataclasses.dataclass(frozen=True, slots=True)
class Contestant:
    """One side of a race.

    Args:
        name: as in reports.
        make: a function of a module, called in the contestant's process; it returns a
            :class:`Job` or raises :class:`UnavailableError`.
        arguments: of that function, of JSON's types.
        environment: variables of the process; None takes one away.
        limit: not a rival but a physical limit: the part of the job that nothing can do without.
        root: the checkout that runs, job and all; by default this one.
    """

    name: str
    make: Callable[..., Job]
    arguments: Mapping[str, Any]
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    limit: bool = False
    root: Path | None = None

    def with_before(self, before: Path | None) -> list[Contestant]:
        """Returns this side and, where ``before`` is a checkout, the same one of that."""
        there = dataclasses.replace(self, name=f"{self.name} before", root=before)
        return [self, there] if before else [self]


@dataclasses.dataclass(frozen=True, slots=True)
class Race:
    """Contestants that do the same job; ratios are to the first.

    Args:
        name: which job, of what.
        unit: what the job handles, in the plural, such as "images".
        items: how many of them one job handles.
        contestants: the first is ours.
        rounds: how many there are by default.
    """

    name: str
    unit: str
    items: int
    contestants: Sequence[Contestant]
    rounds: int = 9


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """How a contestant did: the seconds that a job took in each round, or why it did not run."""

    contestant: Contestant
    seconds: tuple[float, ...] = ()
    unavailable: str | None = None

    @property
    def median(self) -> float:
        """Seconds of a job; NaN where it did not run."""
        return statistics.median(self.seconds) if self.seconds else math.nan


def run_race(race: Race, rounds: int | None = None) -> list[Result]:
    """Runs all contestants in turn, so that a machine that slows down slows all of them.

    Args:
        race: which.
        rounds: how often each runs; by default as the race says.

    Raises:
        RaceError: a contestant's process ended.
    """
    with ExitStack() as stack:
        sides = [stack.enter_context(closing(_Side(one))) for one in race.contestants]
        reasons = [side.answer().get("unavailable") for side in sides]
        times: list[list[float]] = [[] for _ in sides]
        for _ in tqdm(range(rounds or race.rounds), desc=race.name, unit=" rounds", disable=None):
            for side, reason, seconds in zip(sides, reasons, times, strict=True):
                if reason is None:
                    side.ask({})
                    seconds.append(side.answer()["seconds"])
    outcomes = zip(race.contestants, times, reasons, strict=True)
    return [Result(one, tuple(seconds), reason) for one, seconds, reason in outcomes]


class _Side:
    # The parent's end of a contestant's process: a line asks for a round, a line answers.
    def __init__(self, contestant: Contestant):
        root = contestant.root or ROOT
        module = contestant.make.__module__
        command = ["-c", _SERVE.format(paths=[str(root), str(root / "scripts")])]
        if (old := root / _OLD_HARNESS).is_file():
            module, command = _OLD_MODULES[module], [str(old)]
        environment = os.environ | dict(contestant.environment)
        self._name = contestant.name
        self._process = subprocess.Popen(
            [sys.executable, *command],
            env={name: value for name, value in environment.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._requests = cast(IO[str], self._process.stdin)
        self._answers = cast(IO[str], self._process.stdout)
        address = f"{module}:{contestant.make.__qualname__}"
        arguments = dict(contestant.arguments)
        self.ask({"make": address, "arguments": arguments, "root": str(root)})

    def ask(self, question: Mapping[str, Any]) -> None:
        try:
            self._requests.write(json.dumps(question) + "\n")
            self._requests.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def close(self) -> None:
        self._requests.close()
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def _ended(self) -> RaceError:
        return RaceError(f'the process of "{self._name}" ended with {self._process.wait()}')


def serve() -> None:
    """Does a contestant's job whenever a line on standard input asks for it.

    Standard output belongs to the answers: what a library prints goes to standard error.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for answer in _answers(sys.stdin):
            print(json.dumps(answer), file=answers, flush=True)


def _answers(questions: Iterator[str]) -> Iterator[dict[str, Any]]:
    start = json.loads(next(questions))
    module, _, function = start["make"].partition(":")
    try:
        job: Job = getattr(importlib.import_module(module), function)(**start["arguments"])
        took = [_timed(job, 1) for _ in range(job.warm_up)]
    except UnavailableError as error:
        yield {"unavailable": str(error)}
        return
    repeats = max(1, math.ceil(_SHORTEST_ROUND / took[-1])) if took else 1
    yield {}
    for _ in questions:
        yield {"seconds": _timed(job, repeats)}


def _timed(job: Job, repeats: int) -> float:
    job.prepare()
    start = time.perf_counter()
    for _ in range(repeats):
        job.once()
    job.settle()
    return (time.perf_counter() - start) / repeats
