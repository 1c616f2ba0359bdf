"""What errors of recorded tensors are relative to."""

from __future__ import annotations

from collections.abc import Mapping

from parity.checks import RECORDED
from parity.distances import Array


def scales(truths: Mapping[str, Array], norms: Mapping[str, float]) -> dict[str, float]:
    """Says what errors are relative to, for every tensor where that is not its own norm.

    Args:
        truths: name -> tensor, whole or sampled; names begin with that of a check and a slash.
        norms: name -> norm of the whole tensor.
    """
    found: dict[str, float] = {}
    for check in RECORDED.values():
        prefix = f"{check.name}/"
        places = {name.removeprefix(prefix): name for name in truths if name.startswith(prefix)}
        own = check.scales(
            {place: truths[name] for place, name in places.items()},
            {place: norms[name] for place, name in places.items()},
        )
        found |= {f"{prefix}{place}": scale for place, scale in own.items()}
    return found
