"""What a failure is traced to."""

from __future__ import annotations

from typing import Literal, NamedTuple

from parity.reference.structure import NET
from parity.results import Comparison
from parity.tracing.sources import Source

Direction = Literal["forward", "backward", ""]


class Suspect(NamedTuple):
    """What was found to be off.

    At the layer or key ``where`` the ``operation`` is computed, for which ``source`` answers; the
    ``comparison`` says how far it is off, and the ``explanation`` is a sentence for a person.
    ``unit`` is the smallest layer that shows it alone, :data:`NET` for the whole net; ``optimizer``
    is the kind whose step shows it, empty for all else.
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
