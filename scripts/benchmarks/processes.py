"""Whole processes, from start to exit: what several workloads race."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import ROOT, Contestant, Job, UnavailableError


def process(command: Sequence[str], needs: str = "", warm_up: int = 2) -> Job:
    """A Python process, from start to exit.

    Args:
        command: what follows ``python``.
        needs: a package without which it cannot run.
        warm_up: how often it is run before it is timed.

    Raises:
        UnavailableError: the package is not installed.
    """
    if needs and find_spec(needs) is None:
        raise UnavailableError(f"{needs} is not installed: pip install {needs}")
    whole = [sys.executable, *command]
    nothing = subprocess.DEVNULL
    return Job(
        lambda: subprocess.run(whole, check=True, stdin=nothing, stdout=nothing), warm_up=warm_up
    )


def process_side(
    name: str, command: Sequence[str], needs: str = "", warm_up: int = 2, limit: bool = False
) -> Contestant:
    """A :func:`process` as a side of a race."""
    arguments = {"command": list(command), "needs": needs, "warm_up": warm_up}
    return Contestant(name, process, arguments, limit=limit)


def script_sides(
    before: Path | None, script: str, arguments: Sequence[str], shown: str = "", warm_up: int = 2
) -> list[Contestant]:
    """A script of this checkout and, where there is one, of the one before.

    Args:
        before: another checkout.
        script: the name of a file in ``scripts``.
        arguments: of the script.
        shown: those of them that stand in the name of the side.
        warm_up: how often it is run before it is timed.
    """
    name = f"{script} {shown}".strip()
    roots = {name: ROOT} | ({f"{name} before": before.resolve()} if before else {})
    return [
        dataclasses.replace(
            process_side(side, [f"{root}/scripts/{script}", *arguments], warm_up=warm_up),
            # The scripts import what is on the path, which is not always their own checkout.
            environment={"PYTHONPATH": os.pathsep.join([str(root), *_inherited_path()])},
        )
        for side, root in roots.items()
    ]


def _inherited_path() -> list[str]:
    return [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
