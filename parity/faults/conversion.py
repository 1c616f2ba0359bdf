"""Faults in names, in states of nets, and in files of weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tinynet.net import manifest

from parity.faults.planting import BOTH, Group, Original, with_new_statistics

GROUP = Group("conversion")


@GROUP.fault(manifest.mindspore_keys, "layers-isolated", "bn1", answers="MINDSPORE_LEAVES")
def swapped_batch_norm_leaves(right: Original, spec: Any) -> dict[str, str]:
    """Batch norm's scale and shift have each other's name in MindSpore."""
    leaves = {"gamma": "beta", "beta": "gamma"}
    names = {key: name.rpartition(".") for key, name in right(spec).items()}
    return {k: f"{module}.{leaves.get(leaf, leaf)}" for k, (module, _, leaf) in names.items()}


@GROUP.fault("model:write_state", "parameters", "classifier.weight", BOTH)
def transposed_classifier(right: Original, net: Any, state: Any) -> None:
    """The classifier's weights are written in the order of their transpose."""
    weight = state["classifier.weight"]
    right(net, {**state, "classifier.weight": weight.T.reshape(weight.shape)})


@GROUP.fault(
    "model:write_state", "parameters", "blocks.0.0.se.conv_reduce.bias", BOTH, official=True
)
def loading_is_not_strict(right: Original, net: Any, state: Any) -> None:
    """Tensors that go by another name are passed over in silence: biases of squeeze-excites."""
    missed = {key: np.zeros_like(a) for key, a in state.items() if ".se." in key and a.ndim == 1}
    right(net, {**state, **missed})


@GROUP.fault("native_files:save_native", "checkpoints", "whole file", ("mindspore",))
def half_precision_in_the_file(right: Original, path: Any, state: Any, *args: Any) -> None:
    """A file of weights holds them in half precision."""
    # The file's checksum is of what is written, so that it does not notice.
    rounded = {k: v.astype(np.float16).astype(np.float32) for k, v in state.items()}
    right(path, rounded, *args)


@GROUP.fault("native_files:load_native", "checkpoints", "whole file", ("torch",))
def statistics_not_loaded(right: Original, path: Any) -> Any:
    """Reading a file of weights leaves batch-norm statistics as a new net has them."""
    found = right(path)
    tensors = with_new_statistics(found.content["state_dict"])
    return dataclasses.replace(found, content={"state_dict": tensors})


@GROUP.fault(manifest.canonical_key, "checkpoints", "whole file")
def leaves_swapped_on_the_way_back(right: Original, name: str) -> str:
    """Batch norm's scale and shift get each other's name when a file of MindSpore's is read."""
    module, _, leaf = name.rpartition(".")
    swapped = {"gamma": "bias", "beta": "weight"}
    return f"{module}.{swapped[leaf]}" if leaf in swapped else right(name)
