"""States in and out of nets and native files: every case runs for both twins."""

import numpy as np
import pytest

from tinynet.backend import FRAMEWORKS, load_backend
from tinynet.backend.values import NativeFileError
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import StateError, manifest
from tinynet.spec import load_spec

E = load_spec("tinynet_e").with_classes(10)
SUFFIX = {"torch": ".pth", "mindspore": ".ckpt"}

pytestmark = pytest.mark.parametrize("name", FRAMEWORKS)


@pytest.fixture
def twin(name):
    return load_backend(name)


def random_state(spec, seed=0):
    rng = np.random.default_rng(seed)
    return {key: rng.random(entry.shape, np.float32) + 0.5 for key, entry in manifest(spec).items()}


def assert_bits(state, expected):
    assert list(state) == list(expected)
    for key, array in expected.items():
        assert state[key].dtype == np.float32
        assert state[key].flags.c_contiguous
        assert state[key].tobytes() == array.tobytes(), key


@pytest.mark.parametrize("spec", [E, load_spec("efficientnet_lite0")], ids=lambda spec: spec.name)
def test_written_state_is_read_bit_for_bit(twin, spec):
    net = twin.model.TinyNet(spec)
    state = random_state(spec)
    twin.model.write_state(net, state)
    assert_bits(twin.model.read_state(net), state)


def test_a_net_starts_from_the_initial_state(twin):
    assert_bits(twin.model.read_state(twin.model.TinyNet(E)), initial_state(E, seed=0))


def test_the_state_read_is_a_copy(twin):
    net = twin.model.TinyNet(E)
    before = twin.model.read_state(net)
    # An optimizer may write where the net's memory is; write_state may give it other memory.
    assert all(array.flags.owndata for array in before.values())
    twin.model.write_state(net, random_state(E))
    assert_bits(before, initial_state(E, seed=0))


def test_the_net_keeps_no_hold_of_the_state_written(twin):
    net = twin.model.TinyNet(E)
    state = random_state(E)
    twin.model.write_state(net, state)
    for array in state.values():
        array[...] = 0
    assert_bits(twin.model.read_state(net), random_state(E))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: s[k] for k in s if k != "bn1.weight"}, "missing 1 key"),
        (lambda s: s | {"bn1.gamma": s["bn1.weight"]}, r"unexpected 1 key \(bn1.gamma\)"),
        (lambda s: s | {"bn2.bias": s["bn2.bias"][:-1]}, "bn2.bias has shape"),
        (lambda s: s | {"bn2.bias": s["bn2.bias"] * np.nan}, "bn2.bias holds a NaN"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(twin, change, message):
    net = twin.model.TinyNet(E)
    with pytest.raises(StateError, match=message):
        twin.model.write_state(net, change(random_state(E)))
    assert_bits(twin.model.read_state(net), initial_state(E, seed=0))


def test_native_files_keep_state_and_metadata(twin, name, tmp_path):
    path = tmp_path / f"e{SUFFIX[name]}"
    metadata = {"spec": '{"name": "ä"}', "note": "x" * 5000}
    state = random_state(E)
    twin.native_files.save_native(path, state, E, metadata)
    native = twin.native_files.load_native(path)
    assert native.metadata == metadata
    arrays = native.content.get("state_dict", native.content)
    assert [array.tobytes() for array in arrays.values()] == [a.tobytes() for a in state.values()]


def test_native_files_are_the_same_bytes_every_time(twin, name, tmp_path):
    path = tmp_path / f"e{SUFFIX[name]}"
    written = []
    for _ in range(2):
        twin.native_files.save_native(path, random_state(E), E, {"a": "b"})
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_native_files_are_ordinary_and_alone(twin, name, tmp_path):
    # MindSpore by itself makes them read-only and writes another file beside them first.
    path = tmp_path / f"e{SUFFIX[name]}"
    (tmp_path / "reference").write_text("")
    twin.native_files.save_native(path, random_state(E), E, {})
    assert path.stat().st_mode == (tmp_path / "reference").stat().st_mode
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "reference"}


def test_a_native_file_that_fails_to_be_written_keeps_the_old_one(twin, name, tmp_path):
    path = tmp_path / f"e{SUFFIX[name]}"
    path.write_text("precious")
    with pytest.raises(StateError):
        twin.native_files.save_native(path, {}, E, {})
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [0, 1, 100, 5000, -30, -1])
def test_a_truncated_native_file_is_refused(twin, name, tmp_path, size, capfd):
    path = tmp_path / f"e{SUFFIX[name]}"
    twin.native_files.save_native(path, random_state(E), E, {"a": "b"})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(NativeFileError, match=r"^[^\n]+$"):
        twin.native_files.load_native(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("data", [b"hello" * 99, b"\x80\x04hello", b"PK\x03\x04" + b"\0" * 99])
def test_garbage_is_refused(twin, name, tmp_path, data, capfd):
    path = tmp_path / f"e{SUFFIX[name]}"
    path.write_bytes(data)
    with pytest.raises(NativeFileError, match="damaged"):
        twin.native_files.load_native(path)
    assert capfd.readouterr() == ("", "")


def test_a_missing_native_file_is_an_os_error(twin, name, tmp_path):
    with pytest.raises(FileNotFoundError):
        twin.native_files.load_native(tmp_path / f"e{SUFFIX[name]}")
