"""Faults in names, in states of nets, and in files of weights."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# (what stands in for a function takes whatever that takes)

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet.backend import Backend
from tinynet.net import manifest

from parity.faults.planting import BOTH, Group, Injection, replaced

GROUP = Group("conversion")


@GROUP.fault("layers-isolated", "bn1", "tinynet/net/manifest", "MINDSPORE_LEAVES")
def swapped_batch_norm_leaves() -> Injection:
    """Batch norm's scale and shift have each other's name in MindSpore."""

    def faulty(right: Any, spec: Any) -> dict[str, str]:
        leaves = {"gamma": "beta", "beta": "gamma"}
        names = {key: name.rpartition(".") for key, name in right(spec).items()}
        return {k: f"{module}.{leaves.get(leaf, leaf)}" for k, (module, _, leaf) in names.items()}

    return replaced(manifest, "mindspore_keys", faulty)


@GROUP.fault("parameters", "classifier.weight", "model", "write_state", BOTH)
def transposed_classifier(twin: Backend) -> Injection:
    """The classifier's weights are written in the order of their transpose."""

    def faulty(right: Any, net: Any, state: Any) -> None:
        weight = state["classifier.weight"]
        right(net, {**state, "classifier.weight": weight.T.reshape(weight.shape)})

    return replaced(twin.model, "write_state", faulty)


@GROUP.fault(
    "parameters", "blocks.0.0.se.conv_reduce.bias", "model", "write_state", BOTH, official=True
)
def loading_is_not_strict(twin: Backend) -> Injection:
    """Tensors that go by another name are passed over in silence: biases of squeeze-excites."""

    def faulty(right: Any, net: Any, state: Any) -> None:
        missed = {
            key: np.zeros_like(a) for key, a in state.items() if ".se." in key and a.ndim == 1
        }
        right(net, {**state, **missed})

    return replaced(twin.model, "write_state", faulty)


@GROUP.fault("checkpoints", "whole file", "native_files", "save_native", ("mindspore",))
def half_precision_in_the_file(twin: Backend) -> Injection:
    """A file of weights holds them in half precision."""

    def faulty(right: Any, path: Any, state: Any, *args: Any) -> None:
        # Not the canonical tensors any more, so the file's checksum is none the wiser.
        rounded = {k: v.astype(np.float16).astype(np.float32) for k, v in state.items()}
        right(path, rounded, *args)

    return replaced(twin.native_files, "save_native", faulty)


@GROUP.fault("checkpoints", "whole file", "native_files", "load_native", ("torch",))
def statistics_not_loaded(twin: Backend) -> Injection:
    """Reading a file of weights leaves batch-norm statistics as a new net has them."""

    def faulty(right: Any, path: Any) -> Any:
        found = right(path)
        tensors = found.content["state_dict"]
        fresh = {
            key: np.full_like(array, float(key.endswith("var")))
            for key, array in tensors.items()
            if ".running_" in key
        }
        return dataclasses.replace(found, content={"state_dict": {**tensors, **fresh}})

    return replaced(twin.native_files, "load_native", faulty)


@GROUP.fault("checkpoints", "whole file", "tinynet/net/manifest", "canonical_key")
def leaves_swapped_on_the_way_back() -> Injection:
    """Batch norm's scale and shift get each other's name when a file of MindSpore's is read."""

    def faulty(right: Any, name: str) -> str:
        module, _, leaf = name.rpartition(".")
        swapped = {"gamma": "bias", "beta": "weight"}
        return f"{module}.{swapped[leaf]}" if leaf in swapped else right(name)

    return replaced(manifest, "canonical_key", faulty)
