"""What a checkpoint of a spec must contain, what each framework calls it, and whether it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tinynet.net.complexity import layers
from tinynet.spec import Spec

State = dict[str, NDArray[Any]]
Role = Literal[
    "conv_weight",
    "conv_bias",
    "linear_weight",
    "linear_bias",
    "bn_weight",
    "bn_bias",
    "bn_mean",
    "bn_var",
]

# The last part of a canonical key (PyTorch's and timm's name) and of MindSpore's, by role.
CANONICAL_LEAVES: dict[Role, str] = {
    "conv_weight": "weight",
    "conv_bias": "bias",
    "linear_weight": "weight",
    "linear_bias": "bias",
    "bn_weight": "weight",
    "bn_bias": "bias",
    "bn_mean": "running_mean",
    "bn_var": "running_var",
}
MINDSPORE_LEAVES: dict[Role, str] = {
    **CANONICAL_LEAVES,
    "bn_weight": "gamma",
    "bn_bias": "beta",
    "bn_mean": "moving_mean",
    "bn_var": "moving_variance",
}
# The way back, for the leaves that differ.
CANONICAL_OF_MINDSPORE = {
    MINDSPORE_LEAVES[role]: leaf
    for role, leaf in CANONICAL_LEAVES.items()
    if MINDSPORE_LEAVES[role] != leaf
}

TRAINED_ROLES: frozenset[Role] = frozenset(CANONICAL_LEAVES) - {"bn_mean", "bn_var"}


class StateError(ValueError):
    """A state that does not fit its spec. The message is one line."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a state: its shape and its purpose. Every tensor is float32."""

    shape: tuple[int, ...]
    role: Role

    @property
    def decays(self) -> bool:
        """Whether weight decay applies: to weights of convolutions and of the classifier only."""
        return self.role in ("conv_weight", "linear_weight")


def manifest(spec: Spec) -> dict[str, Entry]:
    """Returns canonical key -> entry for every tensor of a spec, in the order data flows."""
    entries: dict[str, Entry] = {}
    for layer in layers(spec):
        vector = (layer.out_channels,)
        if layer.op == "batch_norm":
            for role in ("bn_weight", "bn_bias", "bn_mean", "bn_var"):
                entries[f"{layer.key}.{CANONICAL_LEAVES[role]}"] = Entry(vector, role)
            continue
        weight: Role = "conv_weight" if layer.op == "conv2d" else "linear_weight"
        bias: Role = "conv_bias" if layer.op == "conv2d" else "linear_bias"
        entries[f"{layer.key}.weight"] = Entry(layer.weight_shape, weight)
        if layer.bias:
            entries[f"{layer.key}.bias"] = Entry(vector, bias)
    return entries


def mindspore_keys(spec: Spec) -> dict[str, str]:
    """Returns canonical key -> MindSpore's name of the same tensor."""
    return {
        key: f"{key.rpartition('.')[0]}.{MINDSPORE_LEAVES[entry.role]}"
        for key, entry in manifest(spec).items()
    }


def canonical_key(name: str) -> str:
    """Returns the canonical key of a tensor, given MindSpore's name of it or the canonical one."""
    module, dot, leaf = name.rpartition(".")
    return module + dot + CANONICAL_OF_MINDSPORE.get(leaf, leaf)


def check_state(state: Mapping[str, NDArray[Any]], spec: Spec, source: str) -> State:
    """Checks every key of a state against the manifest of a spec.

    Args:
        state: canonical key -> array.
        spec: the net it must fit.
        source: what to call the state in errors, usually a file's name.

    Returns:
        The state in manifest order.

    Raises:
        StateError: listing the keys that are missing, unexpected, of another shape or dtype, or
            that hold a NaN or an infinity.
    """
    shapes = {key: entry.shape for key, entry in manifest(spec).items()}
    return check_tensors(state, shapes, f"{source}: does not fit {spec.name}")


def check_tensors(
    tensors: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], place: str
) -> State:
    """Checks named tensors: exactly these, each of its shape, float32 and finite.

    Args:
        tensors: name -> array.
        shapes: name -> the shape it must have, for all that must be there.
        place: how an error begins.

    Returns:
        The tensors in the order of ``shapes``.

    Raises:
        StateError: what :func:`check_state` lists.
    """
    problems: list[str] = []
    missing = [key for key in shapes if key not in tensors]
    unexpected = [key for key in tensors if key not in shapes]
    if missing:
        problems.append(f"missing {_listing(missing)}")
    if unexpected:
        problems.append(f"unexpected {_listing(unexpected)}")
    for key, shape in shapes.items():
        if key not in tensors:
            continue
        found = tensors[key]
        if found.shape != shape:
            problems.append(f"{key} has shape {found.shape}, expected {shape}")
        elif found.dtype != np.float32:
            problems.append(f"{key} is {found.dtype}, expected float32")
        elif not np.isfinite(found).all():
            problems.append(f"{key} holds a NaN or an infinity")
    if problems:
        raise StateError(f"{place}: {_shortened(problems)}")
    return {key: tensors[key] for key in shapes}


def check_shapes(shapes: Mapping[str, tuple[int, ...]], spec: Spec) -> None:
    """Refuses a net that was not built as its spec says, before any tensor of it is set.

    Args:
        shapes: canonical key -> shape, of the tensors of a net.
        spec: what it should have been built from.

    Raises:
        StateError: naming the first key that is missing or of another shape.
    """
    for key, entry in manifest(spec).items():
        if key not in shapes:
            raise StateError(f"{key}: the net has no such tensor, {spec.name} asks for it")
        if shapes[key] != entry.shape:
            raise StateError(
                f"{key}: the net has shape {shapes[key]}, {spec.name} asks for {entry.shape}"
            )


def classifier_keys(spec: Spec) -> tuple[str, str]:
    """Returns the keys of the classifier's weight and bias."""
    return f"{spec.names.classifier}.weight", f"{spec.names.classifier}.bias"


def drop_classifier(state: Mapping[str, NDArray[Any]], initial: State, spec: Spec) -> State:
    """Replaces the classifier of a state by another's, for fine-tuning on other classes.

    Args:
        state: a state whose classifier may have any number of classes.
        initial: a state of the spec to fine-tune, whose classifier is taken.
        spec: the one to fine-tune.
    """
    return {**state, **{key: initial[key] for key in classifier_keys(spec)}}


def _listing(keys: list[str]) -> str:
    return f"{len(keys)} key{'s' * (len(keys) > 1)} ({_shortened(keys, separator=', ')})"


def _shortened(items: list[str], separator: str = "; ", most: int = 6) -> str:
    more = f"{separator}and {len(items) - most} more" if len(items) > most else ""
    return separator.join(items[:most]) + more
