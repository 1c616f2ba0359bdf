"""The score: of all planted faults, how many are caught, and how many traced to the right place.

A short catalogue gives no score. A fault that the run never reached spoils it, and so does a run
without any fault that fails.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any, cast

from tinynet.utils.atomic_files import write_text_atomically
from tinynet.utils.environment import environment
from tinynet.utils.process_pool import process_pool, processor_shares

from parity.faults import FAULTS
from parity.faults.outcomes import Clean, Outcome, run_clean, run_with

# The score that is shipped.
STORED = Path(__file__).with_name("score.json")
# The bar, and the fewest faults of which a score says anything.
LEAST_CAUGHT, LEAST_LOCALISED, LEAST_FAULTS = 0.95, 0.90, 40
# Run without a fault.
CLEAN_SPECS = ("small", "uneven", "basic", "bottleneck")
_VERSION = 1


class ScoreError(ValueError):
    """A catalogue that gives no score. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Score:
    """What became of planted faults, in the catalogue's order, and of runs without any."""

    outcomes: tuple[Outcome, ...]
    clean: tuple[Clean, ...]

    @property
    def unreached(self) -> list[Outcome]:
        """Faults that no run ran into: they prove nothing, and the catalogue is wrong."""
        return [outcome for outcome in self.outcomes if not outcome.reached]

    @property
    def missed(self) -> list[Outcome]:
        """Faults with which every check passed."""
        return [outcome for outcome in self.outcomes if not outcome.caught]

    @property
    def mislocalised(self) -> list[Outcome]:
        """Faults that were caught, but elsewhere than where they are."""
        return [outcome for outcome in self.outcomes if outcome.caught and not outcome.localised]

    @property
    def false_alarms(self) -> list[Clean]:
        """Runs without a fault that failed."""
        return [run for run in self.clean if run.check]

    @property
    def caught(self) -> float:
        """Share of the faults that were caught."""
        return 1.0 - len(self.missed) / len(self.outcomes)

    @property
    def localised(self) -> float:
        """Share of the faults with the right check, place and file named."""
        return self.caught - len(self.mislocalised) / len(self.outcomes)

    @property
    def defined(self) -> float:
        """Share of the faults with the right definition in the file named, too."""
        return sum(outcome.defined for outcome in self.outcomes) / len(self.outcomes)

    @property
    def passed(self) -> bool:
        """Whether it reaches the bar."""
        proves = bool(self.clean) and not self.unreached and not self.false_alarms
        return proves and self.caught >= LEAST_CAUGHT and self.localised >= LEAST_LOCALISED


def measure(
    names: Sequence[str] = (),
    seeds: int = 3,
    jobs: int = 1,
    progress: Callable[[Outcome | Clean], object] = lambda done: None,
) -> Score:
    """Plants faults, by default all, one at a time and runs, and runs without.

    Without a fault, each of :data:`CLEAN_SPECS` runs with so many seeds. So many ``jobs`` run side
    by side; ``progress`` is given what each run came to.

    Raises:
        ScoreError: no such fault, no run without one, or a catalogue that is too short.
    """
    unknown = sorted(set(names) - set(FAULTS))
    if unknown:
        raise ScoreError(f"{', '.join(unknown)}: no such fault, --list shows those there are")
    if len(FAULTS) < LEAST_FAULTS:
        raise ScoreError(f"the catalogue has {len(FAULTS)} faults, expected {LEAST_FAULTS} or more")
    if seeds < 1:
        raise ScoreError(f"seeds is {seeds}, expected 1 or more runs without a fault")
    chosen = [name for name in FAULTS if not names or name in names]
    tasks: list[tuple[Any, ...]] = [(run_with, name) for name in chosen]
    tasks += [(run_clean, spec, seed) for spec in CLEAN_SPECS for seed in range(seeds)]
    outcomes: list[Outcome] = []
    clean: list[Clean] = []
    for done in _done(tasks, jobs):
        progress(done)
        if isinstance(done, Outcome):
            outcomes.append(done)
        else:
            clean.append(done)
    outcomes.sort(key=lambda outcome: chosen.index(outcome.fault))
    return Score(tuple(outcomes), tuple(sorted(clean, key=lambda run: (run.spec, run.seed))))


def score_document(score: Score, command: str) -> dict[str, Any]:
    """Returns a score as a JSON document, with what made it and where."""
    return {
        "version": _VERSION,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command,
        "environment": environment(),
        "passed": score.passed,
        "faults": len(score.outcomes),
        **{key: round(getattr(score, key), 4) for key in ("caught", "localised", "defined")},
        **{key: [o.fault for o in getattr(score, key)] for key in ("missed", "mislocalised")},
        "false_alarms": len(score.false_alarms),
        "outcomes": [dataclasses.asdict(outcome) for outcome in score.outcomes],
        "clean": [dataclasses.asdict(run) for run in score.clean],
    }


def save_score(path: Path, document: dict[str, Any]) -> None:
    """Writes a score.

    Raises:
        DocumentError: the file cannot be placed there.
    """
    write_text_atomically(path, json.dumps(document, indent=1) + "\n")


def load_score(path: Path = STORED) -> Score:
    """Reads a score that :func:`save_score` wrote.

    Raises:
        ScoreError: it is of another version.
        OSError: the file cannot be opened.
    """
    document = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    if document.get("version") != _VERSION:
        raise ScoreError(f"{path}: version is {document.get('version')}, expected {_VERSION}")
    return Score(
        tuple(Outcome(**fields) for fields in document["outcomes"]),
        tuple(Clean(**fields) for fields in document["clean"]),
    )


def _done(tasks: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Outcome | Clean]:
    if jobs == 1:
        for function, *arguments in tasks:
            yield function(*arguments)
        return
    with process_pool(processor_shares(jobs)) as pool:
        for future in as_completed([pool.submit(*task) for task in tasks]):
            yield future.result()
