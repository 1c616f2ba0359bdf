"""Which formula each number of a tensor follows, and whether that depends on where it stands.

A kernel that works on whole blocks of numbers handles the rest of a tensor in other code, and the
two may not compute the same. So each number of tensors of many lengths is compared with every
candidate, and then the simplest rule is looked for that says which position follows which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from parity.tolerances.bounds import ROUNDOFFS

Array = NDArray[Any]

Kind = Literal["one formula", "whole blocks", "period", "irregular"]
KINDS: tuple[Kind, ...] = get_args(Kind)

# What a number follows that is not near to any candidate.
NONE = "none of them"


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """How the formula depends on the position.

    Attributes:
        kind: "one formula" for all; in "whole blocks" of ``length`` the first, after them the
            second; a "period" of ``length`` positions; or "irregular", where no such rule holds.
        length: of a block or a period; 0 for the others.
        positions: formula -> the positions that follow it, in the longest tensor.
    """

    kind: Kind
    length: int
    positions: dict[str, str]

    def __str__(self) -> str:
        """Returns a sentence for a person."""
        formulas = list(self.positions)
        if self.kind == "one formula":
            return formulas[0]
        if self.kind == "whole blocks":
            return f"in whole blocks of {self.length}: {formulas[0]}; after them: {formulas[1]}"
        places = "; ".join(f"{where}: {formula}" for formula, where in self.positions.items())
        rule = f"every {self.length} positions" if self.kind == "period" else "irregularly"
        return f"changes {rule} ({places})"


def followed(found: Array, candidates: Mapping[str, Array], roundings: int) -> list[str]:
    """Returns the formula that each number follows: the nearest that rounding explains, or NONE.

    Args:
        found: (n,), float32.
        candidates: formula -> its results for the same numbers, float64, without cancellation.
        roundings: how many a number has gone through; each may move it by 2^-24 of its size.
    """
    names = [*candidates, NONE]
    truths = np.stack(list(candidates.values()))
    distances = np.abs(found - truths)
    tolerances = roundings * ROUNDOFFS["float32"] * np.abs(truths)
    # A NaN is not near to anything.
    explained = np.where(distances <= tolerances, distances, np.inf)
    nearest = np.where(np.isfinite(explained).any(0), explained.argmin(0), len(candidates))
    return [names[index] for index in nearest]


def find_pattern(tensors: Sequence[Sequence[str]]) -> Pattern:
    """Finds the simplest rule for which position follows which formula, in all tensors.

    Of each tensor it takes what :func:`followed` says, by position. The tensors must be of many
    lengths, or a block could not be told from a tensor.
    """
    longest = max(tensors, key=len)
    if len({name for tensor in tensors for name in tensor}) == 1:
        return Pattern("one formula", 0, _positions(longest, [longest[0]]))
    for length in range(2, len(longest) + 1):
        by_block = _by_key(tensors, lambda i, n, b=length: i >= n // b * b)
        if by_block is not None:
            return Pattern("whole blocks", length, _positions(longest, by_block))
        # Of a period, at least two must have been seen.
        by_place = _by_key(tensors, lambda i, _, b=length: i % b)
        if by_place is not None and 2 * length <= len(longest):
            return Pattern("period", length, _positions(longest, by_place))
    return Pattern("irregular", 0, _positions(longest, longest))


def _by_key(tensors: Sequence[Sequence[str]], key: Callable[[int, int], int]) -> list[str] | None:
    # Formulas in the order of the keys; None where a key does not determine the formula.
    found: dict[int, str] = {}
    for tensor in tensors:
        for position, name in enumerate(tensor):
            if found.setdefault(key(position, len(tensor)), name) != name:
                return None
    return [found[each] for each in sorted(found)]


def _positions(tensor: Sequence[str], formulas: Sequence[str]) -> dict[str, str]:
    return {
        formula: _ranges([i for i, name in enumerate(tensor) if name == formula])
        for formula in dict.fromkeys(formulas)
    }


def _ranges(positions: Sequence[int]) -> str:
    # 0-7, 16: consecutive ones differ from their place in the list by the same number.
    runs = groupby(enumerate(positions), lambda pair: pair[1] - pair[0])
    ends = [[position for _, position in run] for _, run in runs]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)
