"""The catalogue of planted faults: what a proof of parity must find.

Each is planted in memory, in the code that a real one would sit in; no source file is edited.
"""

from __future__ import annotations

from parity.faults import (
    average,
    conversion,
    data,
    export,
    loss,
    model,
    optimizer,
    resnet,
    resume,
    schedule,
)
from parity.faults.planting import Fault

_GROUPS = (model, resnet, conversion, data, loss, optimizer, schedule, average, resume, export)
# Name -> fault.
FAULTS: dict[str, Fault] = {
    fault.name: fault for module in _GROUPS for fault in module.GROUP.faults
}
GROUPS: tuple[str, ...] = tuple(module.GROUP.name for module in _GROUPS)
