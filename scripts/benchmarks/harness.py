"""Races: what does the same job runs in turn, each in a process of its own.

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

# A round lasts at least so long, so that the clock and the pipe do not count.
_SHORTEST_ROUND = 0.1


class UnavailableError(ValueError):
    """A contestant cannot run here. The message says why, and what to install, in one line."""


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
        name: as it stands in reports.
        make: "module:function" of this folder; called in the contestant's process, it returns a
            :class:`Job` or raises :class:`UnavailableError`.
        arguments: of that function, of JSON's types.
        environment: variables of the process; None takes one away.
        limit: no rival but a physical limit: the part of the job that nobody can do without.
        root: the checkout whose packages it runs, by default this one.
    """

    name: str
    make: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    limit: bool = False
    root: Path | None = None


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
        results = {side.contestant.name: side.ready() for side in sides}
        running = [side for side in sides if results[side.contestant.name].unavailable is None]
        times: dict[str, list[float]] = {side.contestant.name: [] for side in running}
        for _ in tqdm(range(rounds or race.rounds), desc=race.name, unit=" rounds", disable=None):
            for side in running:
                times[side.contestant.name].append(side.round())
    return [
        dataclasses.replace(result, seconds=tuple(times.get(name, ())))
        for name, result in results.items()
    ]


class RaceError(ValueError):
    """A contestant's process failed. Its own message stands on standard error."""


class _Side:
    # The parent's end of a contestant's process: a line asks for a round, a line answers.
    def __init__(self, contestant: Contestant):
        self.contestant = contestant
        environment = os.environ | dict(contestant.environment)
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env={name: value for name, value in environment.items() if value is not None},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.requests = cast(IO[str], self.process.stdin)
        self.answers = cast(IO[str], self.process.stdout)
        self._ask(
            {
                "make": contestant.make,
                "arguments": dict(contestant.arguments),
                "root": str(contestant.root or Path(__file__).resolve().parents[2]),
            }
        )

    def ready(self) -> Result:
        answer = self._answer()
        return Result(self.contestant, unavailable=answer.get("unavailable"))

    def round(self) -> float:
        self._ask({})
        return self._answer()["seconds"]

    def close(self) -> None:
        self.requests.close()
        self.process.kill()
        self.process.wait()
        self.answers.close()

    def _ask(self, question: Mapping[str, Any]) -> None:
        try:
            self.requests.write(json.dumps(question) + "\n")
            self.requests.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            raise self._ended()
        return json.loads(line)

    def _ended(self) -> RaceError:
        return RaceError(
            f'the process of "{self.contestant.name}" ended with {self.process.wait()}'
        )


def _serve(questions: Iterator[str], answer: Callable[[Mapping[str, Any]], None]) -> None:
    # A contestant's process.
    start = json.loads(next(questions))
    sys.path[:0] = [start["root"]]
    module, _, function = start["make"].partition(":")
    try:
        job: Job = getattr(importlib.import_module(module), function)(**start["arguments"])
        took = [_timed(job, 1) for _ in range(job.warm_up)]
    except UnavailableError as error:
        answer({"unavailable": str(error)})
        return
    repeats = max(1, math.ceil(_SHORTEST_ROUND / took[-1])) if took else 1
    answer({})
    for _ in questions:
        answer({"seconds": _timed(job, repeats)})


def _timed(job: Job, repeats: int) -> float:
    job.prepare()
    start = time.perf_counter()
    for _ in range(repeats):
        job.once()
    job.settle()
    return (time.perf_counter() - start) / repeats


def _main() -> None:
    # Standard output belongs to the answers: what a library prints goes to standard error.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def answer(values: Mapping[str, Any]) -> None:
            print(json.dumps(values), file=answers, flush=True)

        _serve(sys.stdin, answer)


if __name__ == "__main__":
    # A class belongs to the module that it was imported from.
    from benchmarks.harness import _main as main

    main()
