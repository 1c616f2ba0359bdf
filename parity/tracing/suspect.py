"""What a failure is traced to."""

from __future__ import annotations

from typing import Literal, NamedTuple

from parity.reference.structure import NET
from parity.results import Comparison
from parity.tracing.sources import Source

Direction = Literal["forward", "backward", ""]


class Suspect(NamedTuple):
    """What was found to be off.

    Attributes:
        where: the layer or key.
        operation: what is computed there.
        source: what answers for it.
        comparison: how far it is off.
        explanation: a sentence for a person.
        unit: the smallest layer that shows it when it is run alone, :data:`NET` for the whole net.
        direction: the way in which numbers flow there.
        in_training: whether only a net in training shows it.
        optimizer: the kind of optimizer whose step shows it; empty for all else.
    """

    where: str
    operation: str
    source: Source
    comparison: Comparison
    explanation: str
    unit: str = NET
    direction: Direction = ""
    in_training: bool = False
    optimizer: str = ""
