"""Recognises how other projects (timm, torchvision, MindSpore's zoo, ...) name and wrap tensors.

Every layout becomes canonical keys. Nothing is checked against a spec here, and nothing gets lost:
every entry of a file becomes a tensor of the state, is dropped by a known name and noted, or is an
error.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any, cast

import numpy as np

from tinynet.checkpoints.safetensors_file import StoredTensor
from tinynet.checkpoints.training_state import EMA_PREFIX, OPTIMIZER_PREFIX
from tinynet.net.manifest import (
    CANONICAL_OF_MINDSPORE,
    State,
    canonical_key,
    manifest,
    mindspore_keys,
)
from tinynet.spec import Spec, load_spec

# What training code wraps a state in, and what it calls the averaged weights beside it.
# Source: timm 1.0 (state_dict, state_dict_ema), torchvision's references (model, model_ema).
WRAPPERS = ("state_dict", "model")
EMA_WRAPPERS = ("state_dict_ema", "model_ema")

# What a wrapper module puts before all names: DataParallel, torch.compile.
MODULE_PREFIXES = ("module.", "_orig_mod.")

# The official zoo keeps its stages one Cell deeper than timm.
ZOO_BLOCKS, BLOCKS = "blocks.layer.", "blocks."

# What else training leaves in a file of weights. Optimizers put a word before the name of each
# weight they keep something for; counters stand alone.
# Source: the optimizers and loss-scaling cells of mindspore.nn 2.10 and of mindspore_impl,
# ModelCheckpoint's append_info, torch.optim.swa_utils.AveragedModel.
OPTIMIZER_PREFIXES = {
    "accum",
    "adam_m",
    "adam_v",
    "mean_grad",
    "mean_square",
    "moment",
    "moment1",
    "moment2",
    "moments",
    "momentum",
    "stat",
    "vhat",
}
COUNTERS = {
    "beta1_power",
    "beta2_power",
    "current_iterator_step",
    "epoch_num",
    "global_step",
    "last_overflow_iterator_step",
    "learning_rate",
    "momentum",
    "n_averaged",
    "scale_sense",
    "step_num",
}

# efficientnet_pytorch's names (L. Melas-Kyriazi) of a module, by kind of block.
_LUKEMELAS = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
_LUKEMELAS_BLOCKS = {
    "ds": {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"},
    "ir": {
        "conv_pw": "_expand_conv",
        "bn1": "_bn0",
        "conv_dw": "_depthwise_conv",
        "bn2": "_bn1",
        "conv_pwl": "_project_conv",
        "bn3": "_bn2",
    },
}


class LayoutError(ValueError):
    """A file whose entries cannot all be accounted for. The message is one line."""


class NoAveragesError(LayoutError):
    """A file without averaged weights, although they were asked for. The message is one line."""

    def __init__(self, source: str):
        super().__init__(f"{source}: holds no averaged weights (EMA)")


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """Arrays under canonical keys, not yet checked against a spec.

    ``layout`` tells a person how the file named them, ``notes`` what was left aside and why.
    """

    state: State
    layout: str
    notes: tuple[str, ...]


def to_canonical(content: Any, source: str, ema: bool = False, spec: Spec | None = None) -> Named:
    """Finds the weights in what a file holds and gives them canonical keys.

    Args:
        content: the file's content, nested as it may be, with NumPy arrays for tensors.
        source: what to call the file in errors.
        ema: take the averaged weights, where the file has both.
        spec: needed only for names that count blocks through all stages (efficientnet_pytorch's);
            by default those of ``efficientnet_lite0``.

    Raises:
        LayoutError: no weights, no averaged weights although asked for, entries that are neither
            weights nor known leftovers, or two names for one tensor.
    """
    layout: list[str] = []
    notes: list[str] = []
    weights, is_ema = _unwrapped(content, source, ema, layout, notes)
    tensors = _without_leftovers(weights, source, ema and not is_ema, notes)
    tensors = _without_prefixes(tensors, layout)
    if any(name.startswith("_conv_stem.") for name in tensors):
        layout.append("efficientnet_pytorch names")
        canonical = {theirs: key for key, theirs in _lukemelas_keys(spec, source).items()}
        keys = {name: canonical.get(name, name) for name in tensors}
    else:
        leaves = {name.rpartition(".")[2] for name in tensors}
        is_mindspore = not leaves.isdisjoint(CANONICAL_OF_MINDSPORE)
        layout.append("MindSpore names" if is_mindspore else "canonical (timm) names")
        keys = {name: _canonical_key(name) for name in tensors}
    if any(name.startswith(ZOO_BLOCKS) for name in tensors):
        layout.append(f"{ZOO_BLOCKS} of the official zoo")
    state = {keys[name]: array for name, array in tensors.items()}
    if len(state) < len(tensors):
        key, _ = Counter(keys.values()).most_common(1)[0]
        raise LayoutError(f"{source}: holds {key} more than once, under different names")
    return Named(state, ", ".join(layout), tuple(notes))


def to_mindspore(state: State, spec: Spec) -> State:
    """Returns the same arrays under MindSpore's names, in manifest order."""
    return {name: state[key] for key, name in mindspore_keys(spec).items()}


def _canonical_key(name: str) -> str:
    if name.startswith(ZOO_BLOCKS):
        name = BLOCKS + name.removeprefix(ZOO_BLOCKS)
    return canonical_key(name)


def _unwrapped(
    content: Any, source: str, ema: bool, layout: list[str], notes: list[str]
) -> tuple[dict[str, Any], bool]:
    # The mapping of names to arrays, and whether a wrapper called it averaged.
    if not isinstance(content, dict):
        raise LayoutError(f"{source}: holds a {type(content).__name__}, expected named tensors")
    entries = {str(key): value for key, value in cast(dict[Any, Any], content).items()}
    wrapped = [k for k in (*WRAPPERS, *EMA_WRAPPERS) if isinstance(entries.get(k), dict)]
    if not wrapped:
        return entries, False
    raw = [key for key in wrapped if key in WRAPPERS]
    averaged = [key for key in wrapped if key in EMA_WRAPPERS]
    # A wrapper without averaged weights beside it may still hold them under ema. names.
    chosen = averaged if averaged and (ema or not raw) else raw
    if len(chosen) > 1:
        raise LayoutError(f"{source}: holds weights twice, as {' and as '.join(chosen)}")
    layout.append(f"inside {chosen[0]}")
    if not raw:
        notes.append("its weights are averaged ones (EMA), it has no others")
    aside = [key for key in entries if key != chosen[0]]
    if aside:
        notes.append(f"left aside: {', '.join(aside)}")
    return entries[chosen[0]], chosen == averaged


def _without_leftovers(
    weights: dict[str, Any], source: str, ema: bool, notes: list[str]
) -> dict[str, Any]:
    # Arrays that are weights; with ema, those whose prefix says that they are averaged.
    averaged = {k.removeprefix(EMA_PREFIX) for k in weights if k.startswith(EMA_PREFIX)}
    if ema and not averaged:
        raise NoAveragesError(source)
    tensors: dict[str, Any] = {}
    dropped: Counter[str] = Counter()
    for name, value in weights.items():
        first, _, rest = name.partition(".")
        if name.rpartition(".")[2] == "num_batches_tracked":
            dropped["num_batches_tracked (counts batches, nothing reads it)"] += 1
        elif name in COUNTERS:
            dropped[name] += 1
        elif first in OPTIMIZER_PREFIXES and rest in weights:
            dropped[f"{first}. (optimizer)"] += 1
        elif first + "." == OPTIMIZER_PREFIX and rest.partition(".")[2] in weights:
            # Our own training checkpoint, without the metadata that say so.
            dropped[f"{first}. (optimizer)"] += 1
        elif first + "." == EMA_PREFIX and rest in weights and not ema:
            dropped["ema. (averaged weights)"] += 1
        elif ema and name in averaged:
            dropped["raw weights"] += 1
        elif not isinstance(value, np.ndarray | StoredTensor):
            raise LayoutError(
                f"{source}: {name} is a {type(value).__name__}, expected a tensor or one of the "
                f"wrappers {', '.join((*WRAPPERS, *EMA_WRAPPERS))}"
            )
        else:
            tensors[name.removeprefix(EMA_PREFIX) if ema else name] = value
    notes.extend(f"dropped {count} x {what}" for what, count in dropped.items())
    if not tensors:
        raise LayoutError(f"{source}: holds no weights")
    return tensors


def _without_prefixes(tensors: dict[str, Any], layout: list[str]) -> dict[str, Any]:
    # EMA_PREFIX too: where all weights have it, the file holds averaged ones only.
    for prefix in (EMA_PREFIX, *MODULE_PREFIXES):
        if all(name.startswith(prefix) for name in tensors):
            layout.append(f"prefix {prefix}")
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _lukemelas_keys(spec: Spec | None, source: str) -> dict[str, str]:
    # Canonical key -> efficientnet_pytorch's name.
    spec = load_spec("efficientnet_lite0") if spec is None else spec
    if any(stage.se_ratio for stage in spec.stages):
        # Its nets with squeeze-excite pad and normalise otherwise than this family's, which
        # shapes do not show: the weights would load and answer wrongly.
        raise LayoutError(
            f"{source}: efficientnet_pytorch's names are known for nets without squeeze-excite "
            f"only, {spec.name} has it"
        )
    modules = dict(_LUKEMELAS)
    for index, block in enumerate(spec.blocks()):
        for own, theirs in _LUKEMELAS_BLOCKS[block.kind].items():
            modules[f"{block.key}.{own}"] = f"_blocks.{index}.{theirs}"
    keys: dict[str, str] = {}
    for key in manifest(spec):
        module, _, leaf = key.rpartition(".")
        keys[key] = f"{modules[module]}.{leaf}"
    return keys
