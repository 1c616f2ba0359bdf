"""Batch norm folded into convolutions: the form of a net that is deployed."""

from __future__ import annotations

import dataclasses

import numpy as np

from tinynet.net.complexity import layers
from tinynet.net.manifest import State, check_state
from tinynet.spec import BatchNorm, Spec


class FoldingError(ValueError):
    """A net that has nothing to fold. The message is one line."""


def folded_spec(spec: Spec) -> Spec:
    """Returns the spec of the net with its batch norms folded.

    Derivation and expected counts are dropped, since they describe the net that is trained.

    Raises:
        FoldingError: its batch norms are folded already.
    """
    _settings(spec)
    return dataclasses.replace(spec, batch_norm=None, derivation=None, expected=None)


def fold_batch_norm(spec: Spec, state: State) -> tuple[Spec, State]:
    """Folds every batch norm into the convolution before it.

    In evaluation a batch norm scales and shifts each channel by constants, as its convolution can:
    ``w * gamma / sqrt(variance + eps)`` is the weight, ``beta - mean * gamma / sqrt(variance +
    eps)`` the bias. Computed in float64 and rounded once.

    Args:
        spec: a net with batch norm.
        state: its canonical state.

    Returns:
        The spec and the state of the same function, both without batch norm.

    Raises:
        FoldingError: its batch norms are folded already.
        StateError: the state does not fit the spec, or what is folded overflows float32.
    """
    folded = folded_spec(spec)
    exact = fold_exactly(spec, check_state(state, spec, "state"))
    with np.errstate(over="ignore"):  # refused by name, as any infinity
        rounded = {key: array.astype(np.float32) for key, array in exact.items()}
    return folded, check_state(rounded, folded, "folded state")


def deployed(spec: Spec, state: State) -> tuple[Spec, State]:
    """Returns the net as it answers fastest: with its batch norms folded, if it has any.

    Args:
        spec: a net.
        state: its canonical state.

    Raises:
        StateError: the state does not fit the spec, or what is folded overflows float32.
    """
    return (spec, state) if spec.batch_norm is None else fold_batch_norm(spec, state)


def fold_exactly(spec: Spec, state: State) -> State:
    """Returns what :func:`fold_batch_norm` rounds: the folded state in float64.

    Raises:
        FoldingError: its batch norms are folded already.
    """
    eps = _settings(spec).eps
    wide = {key: array.astype(np.float64) for key, array in state.items()}
    folded: State = {}
    conv = ""
    for layer in layers(spec):
        if layer.op != "batch_norm":
            conv = layer.key
            leaves = ("weight", "bias") if layer.bias else ("weight",)
            folded |= {f"{conv}.{leaf}": wide[f"{conv}.{leaf}"] for leaf in leaves}
            continue
        gamma, beta = wide[f"{layer.key}.weight"], wide[f"{layer.key}.bias"]
        mean, variance = wide[f"{layer.key}.running_mean"], wide[f"{layer.key}.running_var"]
        scale = gamma / np.sqrt(variance + eps)
        folded[f"{conv}.weight"] = wide[f"{conv}.weight"] * scale[:, None, None, None]
        folded[f"{conv}.bias"] = beta - mean * scale
    return folded


def _settings(spec: Spec) -> BatchNorm:
    if spec.batch_norm is None:
        raise FoldingError(f"{spec.name}: has no batch norm, it is folded already")
    return spec.batch_norm
