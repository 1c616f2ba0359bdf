"""Which bound holds for a comparison, and what its errors are relative to.

The names of quantities are data in the calibrations: in them, "kinked" means non-smooth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from tinynet.spec import Spec

from parity.distances import Array, norm
from parity.reference.structure import kind

# A norm below this share of the whole gradient's is rounding of an analytically zero gradient,
# such as a bias's whose output goes into a batch norm.
ZERO_GRADIENT = 1e-6


def has_exp(spec: Spec) -> bool:
    """Returns whether the net has a sigmoid or SiLU, which are computed with exp."""
    return spec.activation == "silu" or any(stage.se_ratio for stage in spec.stages)


def layer_quantity(name: str, spec: Spec) -> str:
    """Returns the quantity of a layer alone: "gate layer" for one that holds a sigmoid or SiLU.

    Convolutions, batch norms, pooling, classifier and projections have no exp in them;
    activations, gates, squeeze-excites and whole blocks may have.
    """
    exact = name.endswith(".downsample") or kind(name) not in ("", "act", "gate")
    return "layer" if exact or not has_exp(spec) else "gate layer"


def whole_quantity(quantity: str, spec: Spec) -> str:
    """Returns the quantity "chained", "logits" or "loss" of a net, which has one without exp."""
    if has_exp(spec):
        return quantity
    return "logits, exact gates" if quantity == "logits" else f"{quantity}, no exp"


def is_non_smooth(spec: Spec) -> bool:
    """Returns whether the activation has kinks, where a rounding decides the gradient."""
    return spec.activation in ("relu6", "relu")


def gradient_quantity(spec: Spec) -> str:
    """Returns the quantity of the gradients of a whole net."""
    return "gradient, kinked" if is_non_smooth(spec) else "gradient"


def whole_norm(norms: Iterable[float]) -> float:
    """Returns the norm of a whole gradient, from those of its parts."""
    return math.sqrt(sum(value**2 for value in norms))


def gradient_scale(own: float, whole: float) -> float | None:
    """Returns what the error of a gradient of some norm is relative to, None for that norm.

    ``whole`` is the norm of the whole gradient.
    """
    return whole if own < ZERO_GRADIENT * whole else None


def gradient_scales(norms: Mapping[str, float]) -> dict[str, float]:
    """Says what the errors of gradients are relative to, where that is not their own norm.

    ``norms`` are those of all gradients, which together are the whole one.
    """
    whole = whole_norm(norms.values())
    return {key: whole for key, own in norms.items() if gradient_scale(own, whole) is not None}


def statistic_scale(key: str, truths: Mapping[str, Array]) -> float | None:
    """Returns what the error of a running statistic is relative to, None for its own norm.

    A mean may be zero, so its errors are relative to the spread of the values. ``truths`` are all
    statistics, by key.
    """
    if not key.endswith("running_mean"):
        return None
    return norm(np.sqrt(truths[key.replace("running_mean", "running_var")]))
