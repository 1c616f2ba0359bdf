import json
from pathlib import Path

import numpy as np
import pytest

from tinynet.checkpoints.layouts import LayoutError, to_canonical, to_mindspore
from tinynet.checkpoints.spec_inference import infer_spec
from tinynet.net.manifest import manifest, mindspore_keys
from tinynet.spec import load_spec

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "timm_keys.json").read_text())
NETS = [name for name in GOLDEN if name != "timm"]
E = load_spec("tinynet_e")


def numbered(spec):
    # A state of the right names in which every tensor is recognisable.
    return {key: np.full(2, index, np.float32) for index, key in enumerate(manifest(spec))}


def assert_same(state, expected):
    assert set(state) == set(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(state[key], array, err_msg=key)


# The manifest


@pytest.mark.parametrize("name", NETS)
def test_manifest_has_timms_names_and_shapes(name):
    ours = {key: list(entry.shape) for key, entry in manifest(load_spec(name)).items()}
    assert ours == GOLDEN[name]


@pytest.mark.parametrize("name", NETS)
def test_a_shipped_spec_is_found_by_timms_shapes(name):
    shapes = {key: tuple(shape) for key, shape in GOLDEN[name].items()}
    assert infer_spec(shapes, "timm") == load_spec(name)


def test_mindspore_names_differ_in_batch_norm_only():
    names = mindspore_keys(E)
    assert names["conv_stem.weight"] == "conv_stem.weight"
    assert names["blocks.0.0.se.conv_reduce.bias"] == "blocks.0.0.se.conv_reduce.bias"
    assert [names[f"bn1.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")] == [
        "bn1.gamma",
        "bn1.beta",
        "bn1.moving_mean",
        "bn1.moving_variance",
    ]


# Layouts


def lukemelas(name, spec):
    # Written out from the other side than the code under test: by the names' own grammar.
    stages = spec.blocks_by_stage()
    flat = {block.key: (i, block) for i, block in enumerate(b for stage in stages for b in stage)}
    module, _, leaf = name.rpartition(".")
    if not module.startswith("blocks."):
        top = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
        return f"{top.get(module, '_fc')}.{leaf}"
    key, _, layer = module.rpartition(".")
    index, block = flat[key]
    expanded = block.kind == "ir"
    names = ["_bn0", "_bn1", "_bn2"] if expanded else ["_bn1", "_bn2"]
    convs = {
        "conv_pw": "_expand_conv" if expanded else "_project_conv",
        "conv_pwl": "_project_conv",
    }
    convs |= {"conv_dw": "_depthwise_conv"}
    theirs = convs[layer] if layer in convs else names[int(layer[-1]) - 1]
    return f"_blocks.{index}.{theirs}.{leaf}"


def zoo(state):
    named = to_mindspore(state, E)
    return {name.replace("blocks.", "blocks.layer.", 1): array for name, array in named.items()}


LAYOUTS = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {}}},
    "model": lambda s: {"model": s, "args": object()},
    "DataParallel": lambda s: {"module." + key: array for key, array in s.items()},
    "compiled DataParallel": lambda s: {"module._orig_mod." + k: v for k, v in s.items()},
    "wrapped DataParallel": lambda s: {"model": {"module." + k: v for k, v in s.items()}},
    "EMA only": lambda s: {"state_dict_ema": s, "arch": "tinynet_e"},
    "EMA prefix only": lambda s: {"ema." + key: array for key, array in s.items()},
    "averaged model": lambda s: {"n_averaged": np.int64(3)} | {f"module.{k}": s[k] for k in s},
    "batch counts": lambda s: s | {"bn1.num_batches_tracked": np.array(7)},
    "MindSpore": lambda s: to_mindspore(s, E),
    "zoo": zoo,
    "zoo with optimizer": lambda s: (
        zoo(s)
        | {"moment." + name: array + 1 for name, array in zoo(s).items()}
        | {"mean_square." + name: array + 1 for name, array in zoo(s).items()}
        | {"global_step": np.array([9]), "learning_rate": np.array(0.1), "epoch_num": np.array(3)}
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_becomes_canonical(layout):
    state = numbered(E)
    named = to_canonical(LAYOUTS[layout](state), "file")
    assert_same(named.state, state)


def test_the_layout_tells_of_prefixes():
    content = {"ema.module." + key: array for key, array in numbered(E).items()}
    assert (
        to_canonical(content, "file").layout
        == "prefix ema., prefix module., canonical (timm) names"
    )


def test_lukemelas_names_become_canonical():
    spec = load_spec("efficientnet_lite0")
    state = numbered(spec)
    theirs = {lukemelas(key, spec): array for key, array in state.items()}
    assert len(theirs) == len(state)
    assert_same(to_canonical(theirs, "file").state, state)


def test_lukemelas_names_are_refused_for_nets_that_its_author_builds_otherwise():
    with pytest.raises(LayoutError, match="without squeeze-excite"):
        to_canonical({"_conv_stem.weight": np.zeros(1)}, "f", spec=load_spec("efficientnet_b0"))


@pytest.mark.parametrize(
    "both",
    [
        lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
        lambda raw, ema: {"model": raw, "model_ema": ema},
        lambda raw, ema: raw | {"ema." + key: array for key, array in ema.items()},
        lambda raw, ema: {"model": raw | {"ema." + key: array for key, array in ema.items()}},
    ],
)
def test_raw_weights_unless_averaged_ones_are_asked_for(both):
    raw = numbered(E)
    averaged = {key: array + 0.5 for key, array in raw.items()}
    assert_same(to_canonical(both(raw, averaged), "file").state, raw)
    assert_same(to_canonical(both(raw, averaged), "file", ema=True).state, averaged)


def test_what_is_left_out_is_reported():
    content = {"state_dict": numbered(E) | {"bn1.num_batches_tracked": np.array(1)}, "epoch": 3}
    notes = " ".join(to_canonical(content, "file").notes)
    assert "left aside: epoch" in notes
    assert "dropped 1 x num_batches_tracked" in notes


@pytest.mark.parametrize(
    ("content", "ema", "expected"),
    [
        ([1, 2], False, "file: holds a list, expected named tensors"),
        ({}, False, "file: holds no weights"),
        ({"net": {"a": np.zeros(1)}}, False, "file: net is a dict, expected a tensor or one of"),
        ({"a": np.zeros(1), "b": "text"}, False, "file: b is a str, expected a tensor or one of"),
        ({"a": np.zeros(1)}, True, "file: holds no averaged weights (EMA)"),
        ({"state_dict": {"a": np.zeros(1)}}, True, "file: holds no averaged weights (EMA)"),
        (
            {"state_dict": {"a": np.zeros(1)}, "model": {"a": np.zeros(1)}},
            False,
            "file: holds weights twice, as state_dict and as model",
        ),
        (
            {"bn1.gamma": np.zeros(1), "bn1.weight": np.zeros(1)},
            False,
            "file: holds bn1.weight more than once, under different names",
        ),
    ],
)
def test_unaccountable_content_is_refused(content, ema, expected):
    with pytest.raises(LayoutError) as error:
        to_canonical(content, "file", ema)
    assert str(error.value).startswith(expected)


def test_a_leftover_of_no_weight_here_stays_and_will_be_unexpected():
    content = {"conv_stem.weight": np.zeros(1), "moment.other.weight": np.zeros(1)}
    assert "moment.other.weight" in to_canonical(content, "file").state
