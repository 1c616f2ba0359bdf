"""The catalogue of planted faults: what a proof of parity must find.

Each is planted in memory, in the code that a real one would sit in; no source file is edited.
"""

from __future__ import annotations

from parity.faults.data import DATA
from parity.faults.files import CONVERSION, EXPORT, RESUME
from parity.faults.model import MODEL, RESNET
from parity.faults.planting import Fault
from parity.faults.training import AVERAGE, LOSS, OPTIMIZER, SCHEDULE

_GROUPS = (MODEL, RESNET, CONVERSION, DATA, LOSS, OPTIMIZER, SCHEDULE, AVERAGE, RESUME, EXPORT)
# Name -> fault.
FAULTS: dict[str, Fault] = {fault.name: fault for group in _GROUPS for fault in group.faults}
GROUPS: tuple[str, ...] = tuple(group.name for group in _GROUPS)
