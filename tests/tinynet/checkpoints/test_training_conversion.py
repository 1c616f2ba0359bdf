import itertools
import json

import mindspore as ms
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tinynet.backend import load_backend
from tinynet.checkpoints.conversion import convert
from tinynet.checkpoints.files import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    load_training,
    save_checkpoint,
    save_training,
)
from tinynet.checkpoints.layouts import LayoutError
from tinynet.checkpoints.training_state import (
    TrainingState,
    TrainingStateError,
    load_training_state,
    pack_training,
    save_training_state,
)
from tinynet.net.manifest import StateError, mindspore_keys

from training_states import SMALL, assert_same, run_state

FORMATS = (".safetensors", ".pth", ".ckpt")
DIRECTIONS = list(itertools.permutations(FORMATS, 2))
RUNS = {"rmsprop with ema": ("rmsprop", True), "sgd without": ("sgd", False)}


@pytest.fixture(scope="module", params=RUNS.values(), ids=RUNS)
def state(request):
    return run_state(*request.param)


@pytest.fixture(scope="module")
def averaged():
    return run_state("rmsprop", ema=True)


@pytest.fixture(scope="module")
def written(tmp_path_factory, averaged):
    folder = tmp_path_factory.mktemp("written")
    for suffix in FORMATS:
        save_training(folder / f"last{suffix}", averaged)
    return folder


def assert_bits(arrays, expected):
    assert set(arrays) == set(expected)
    for key, array in expected.items():
        assert arrays[key].tobytes() == array.tobytes(), key


# Six directions


@pytest.mark.parametrize("source", FORMATS)
def test_a_state_comes_back_from_every_format(tmp_path, state, source):
    save_training(tmp_path / f"last{source}", state)
    assert_same(load_training(tmp_path / f"last{source}"), state)


@pytest.mark.parametrize(("source", "destination"), DIRECTIONS)
def test_six_directions_keep_everything(tmp_path, state, source, destination):
    save_training(tmp_path / f"last{source}", state)
    converted = convert(tmp_path / f"last{source}", tmp_path / f"there{destination}")
    assert isinstance(converted, TrainingState)
    assert_same(load_training(tmp_path / f"there{destination}"), state)
    # And back to the very same canonical file.
    save_training_state(tmp_path / "canonical.safetensors", state)
    convert(tmp_path / f"there{destination}", tmp_path / "back.safetensors")
    expected = (tmp_path / "canonical.safetensors").read_bytes()
    assert (tmp_path / "back.safetensors").read_bytes() == expected


# What others do with what we write


def test_a_pth_has_timms_names(written, averaged):
    content = torch.load(written / "last.pth", weights_only=True)
    assert list(content) == ["state_dict", "state_dict_ema", "optimizer", "metadata"]
    groups = {"state_dict": averaged.weights, "state_dict_ema": averaged.ema}
    for group, expected in groups.items():
        assert_bits({k: v.numpy() for k, v in content[group].items()}, expected)
    assert list(content["optimizer"]) == ["mean_square", "momentum"]
    for slot, expected in averaged.slots.items():
        assert_bits({k: v.numpy() for k, v in content["optimizer"][slot].items()}, expected)
    assert json.loads(content["metadata"]["training"])["step"] == 70


def test_a_ckpt_has_mindspores_names(written, averaged):
    content = ms.load_checkpoint(str(written / "last.ckpt"), crc_check=True)
    assert json.loads(json.loads(content.pop("metadata"))["training"])["step"] == 70
    names = mindspore_keys(SMALL)
    groups = {"": averaged.weights, "ema.": averaged.ema}
    groups |= {f"{slot}.": arrays for slot, arrays in averaged.slots.items()}
    expected = {
        prefix + names[key]: array
        for prefix, arrays in groups.items()
        for key, array in arrays.items()
    }
    assert "mean_square.blocks.1.0.bn1.gamma" in expected
    assert_bits({name: tensor.asnumpy() for name, tensor in content.items()}, expected)


def test_mindspore_loads_a_ckpt_into_net_optimizer_and_average(written, averaged):
    net = load_backend("mindspore").model.TinyNet(SMALL)
    optim = load_backend("mindspore").optim
    trained = net.trainable_params()
    parts = {
        "net": net,
        "optimizer": optim.RMSProp(
            trained, [False] * len(trained), averaged.progress.recipe.optimizer
        ),
        "average": optim.Average(list(net.get_parameters())),
    }
    content = ms.load_checkpoint(str(written / "last.ckpt"))
    for name, part in parts.items():
        missing, _ = ms.load_param_into_net(part, content, strict_load=True)
        assert missing == [], name
    found = {p.name: p.asnumpy() for part in parts.values() for p in part.get_parameters()}
    slot = averaged.slots["mean_square"]["bn1.weight"]
    assert found["mean_square.bn1.gamma"].tobytes() == slot.tobytes()
    assert found["ema.bn1.moving_mean"].tobytes() == averaged.ema["bn1.running_mean"].tobytes()
    assert found["bn1.gamma"].tobytes() == averaged.weights["bn1.weight"].tobytes()


def test_a_run_begun_in_pytorch_goes_on_from_a_ckpt(tmp_path, averaged):
    save_training(tmp_path / "last.pth", averaged)
    convert(tmp_path / "last.pth", tmp_path / "last.ckpt")
    native = load_backend("mindspore").native_files.load_native(tmp_path / "last.ckpt")
    named = load_backend("mindspore").native_files.training_tensors(native.content)
    assert_bits(named, averaged.tensors)
    assert native.metadata["training"] == pack_training(averaged).metadata["training"]


# Only weights


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("ema", [False, True])
def test_loading_weights_from_a_training_checkpoint(written, averaged, suffix, ema):
    checkpoint = load_checkpoint(written / f"last{suffix}", ema=ema)
    assert_bits(checkpoint.state, averaged.ema if ema else averaged.weights)
    assert checkpoint.spec == SMALL
    assert checkpoint.layout == "training checkpoint"
    aside = "raw weights" if ema else "averaged weights"
    note = f"left aside: {aside}, optimizer state (mean_square, momentum)"
    assert checkpoint.notes == (f"step 70 of a training run; {note}",)


@pytest.mark.parametrize(("source", "destination"), DIRECTIONS)
@pytest.mark.parametrize("which", ["weights_only", "ema"])
def test_only_weights_are_converted(tmp_path, written, averaged, source, destination, which):
    path = tmp_path / f"weights{destination}"
    assert isinstance(convert(written / f"last{source}", path, **{which: True}), Checkpoint)
    checkpoint = load_checkpoint(path)
    assert_bits(checkpoint.state, averaged.ema if which == "ema" else averaged.weights)
    assert checkpoint.metadata == {}
    with pytest.raises(TrainingStateError, match="holds only weights"):
        load_training(path)


def test_no_averaged_weights_are_an_error(tmp_path):
    save_training(tmp_path / "last.ckpt", run_state("sgd", ema=False))
    with pytest.raises(LayoutError, match=r"last\.ckpt: holds no averaged weights \(EMA\)"):
        load_checkpoint(tmp_path / "last.ckpt", ema=True)


def test_names_are_for_weights(tmp_path, written, averaged):
    path = tmp_path / "ms.safetensors"
    with pytest.raises(CheckpointError, match="--names is for weights; take the raw"):
        convert(written / "last.pth", path, names="mindspore")
    convert(written / "last.pth", path, names="mindspore", ema=True)
    assert_bits(load_checkpoint(path).state, averaged.ema)


def test_another_spec_and_classifier_are_for_weights(tmp_path, written, averaged):
    path, other = tmp_path / "a.pth", SMALL.with_classes(3)
    with pytest.raises(CheckpointError, match="--new-classifier is for weights"):
        convert(written / "last.ckpt", path, spec=other, new_classifier=1)
    with pytest.raises(CheckpointError, match="another --spec than its own is for weights"):
        convert(written / "last.ckpt", path, spec=other)
    assert not path.exists()
    convert(written / "last.ckpt", path, spec=SMALL)
    assert_same(load_training(path), averaged)
    convert(written / "last.ckpt", path, spec=other, new_classifier=1, ema=True)
    checkpoint = load_checkpoint(path)
    assert checkpoint.spec == other
    assert checkpoint.state["bn1.weight"].tobytes() == averaged.ema["bn1.weight"].tobytes()


# What is refused


def flipped(data, needle):
    place = data.index(needle) + 5
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("group", ["weights", "ema", "slot", "progress"])
@pytest.mark.parametrize("load", [load_training, load_checkpoint])
def test_a_flipped_bit_is_noticed_whatever_is_wanted(
    tmp_path, written, averaged, suffix, group, load
):
    needles = {
        "weights": averaged.weights["conv_head.weight"].tobytes(),
        "ema": averaged.ema["conv_head.weight"].tobytes(),
        "slot": averaged.slots["momentum"]["conv_head.weight"].tobytes(),
        # MindSpore writes strings with four bytes a character.
        "progress": "data_sha256".encode("utf-32-le" if suffix == ".ckpt" else "ascii"),
    }
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(flipped((written / f"last{suffix}").read_bytes(), needles[group][:64]))
    with pytest.raises(ValueError, match=r"damaged[^\n]*(checksum|is damaged)"):
        load(path)


def test_a_ckpt_without_its_crc_is_checked_all_the_same(tmp_path, written, averaged):
    needle = averaged.slots["momentum"]["conv_head.weight"].tobytes()[:64]
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(flipped((written / "last.ckpt").read_bytes()[:-17], needle))
    for load in (load_training, load_checkpoint):
        with pytest.raises(TrainingStateError, match="content does not match its checksums"):
            load(path)


def test_a_native_file_is_checked_beyond_its_frameworks_checksums(tmp_path, written):
    content = torch.load(written / "last.pth", weights_only=True)
    changes = {
        "missing 1 key (optimizer.momentum.bn1.bias)": lambda c: c["optimizer"]["momentum"].pop(
            "bn1.bias"
        ),
        "unexpected 1 key (surprise)": lambda c: c.update(surprise=torch.ones(1)),
        "surprise is a int, expected a tensor": lambda c: c.update(surprise=3),
        "ema.bn1.bias is a str, expected a tensor": lambda c: c["state_dict_ema"].update(
            {"bn1.bias": "?"}
        ),
        "its content does not match its checksums": lambda c: c["state_dict_ema"]["bn1.bias"].add_(
            1
        ),
    }
    for message, change in changes.items():
        damaged = torch.load(written / "last.pth", weights_only=True)
        change(damaged)
        torch.save(damaged, tmp_path / "a.pth")
        with pytest.raises((StateError, TrainingStateError)) as caught:
            load_training(tmp_path / "a.pth")
        assert message in str(caught.value)
        assert str(caught.value).startswith(f"{tmp_path / 'a.pth'}: ")
    torch.save(content, tmp_path / "a.pth")
    load_training(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_is_written_of_a_state_that_does_not_fit(tmp_path, suffix):
    state = run_state("sgd", ema=False)
    state.slots["momentum"]["bn1.bias"][0] = np.nan
    with pytest.raises(StateError, match=r"optimizer\.momentum\.bn1\.bias holds a NaN"):
        save_training(tmp_path / f"a{suffix}", state)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
def test_weights_are_not_taken_for_a_training_state(tmp_path, averaged, suffix):
    path = tmp_path / f"weights{suffix}"
    save_checkpoint(path, Checkpoint(averaged.weights, SMALL))
    with pytest.raises(TrainingStateError, match="holds only weights, expected a training check"):
        load_training(path)
    with pytest.raises(CheckpointError, match="unknown suffix"):
        load_training(tmp_path / "a.onnx")


# Files that have lost their metadata


def test_weights_are_found_without_metadata(tmp_path, written, averaged):
    content = torch.load(written / "last.pth", weights_only=True)
    del content["metadata"]
    torch.save(content, tmp_path / "a.pth")
    named = ms.load_checkpoint(str(written / "last.ckpt"))
    del named["metadata"]
    ms.save_checkpoint([{"name": n, "data": t} for n, t in named.items()], str(tmp_path / "a.ckpt"))
    save_file(load_file(written / "last.safetensors"), tmp_path / "a.safetensors")
    for suffix in FORMATS:
        for ema, expected in ((False, averaged.weights), (True, averaged.ema)):
            found = load_checkpoint(tmp_path / f"a{suffix}", SMALL, ema=ema)
            assert_bits(found.state, expected)
        with pytest.raises(TrainingStateError, match="holds only weights"):
            load_training(tmp_path / f"a{suffix}")


def test_the_canonical_file_of_a_ckpt_is_read_by_tinynet_alone(tmp_path, written, averaged):
    convert(written / "last.ckpt", tmp_path / "last.safetensors")
    assert_same(load_training_state(tmp_path / "last.safetensors"), averaged)
