import dataclasses
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import tinynet
from tinynet.backend import BackendError, load_backend
from tinynet.checkpoints.conversion import convert, inspect
from tinynet.checkpoints.files import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from tinynet.checkpoints.metadata import describe
from tinynet.checkpoints.safetensors_file import SafetensorsFileError
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import StateError, classifier_keys, mindspore_keys
from tinynet.spec import format_spec, load_spec
from tinynet.utils.strict_json import DocumentError

E = load_spec("tinynet_e")


@pytest.fixture(scope="module")
def state():
    drawn = initial_state(E, seed=3)
    rng = np.random.default_rng(3)
    noise = {key: rng.random(array.shape, np.float32) + 0.5 for key, array in drawn.items()}
    return {key: noise[key] if ".bn" in f".{key}" else array for key, array in drawn.items()}


@pytest.fixture
def path(tmp_path, state):
    path = tmp_path / "e.safetensors"
    save_checkpoint(path, Checkpoint(state, E, source="origin.pth", source_sha256="00"))
    return path


def assert_bits(state, expected):
    assert list(state) == list(expected)
    for key, array in expected.items():
        assert np.asarray(state[key]).tobytes() == array.tobytes(), key


def error_of(function, *arguments, **more):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as found:
        function(*arguments, **more)
    return type(found.value), str(found.value)


def write_foreign(path, state, metadata=None):
    safetensors.numpy.save_file(state, path, metadata=metadata)
    return path


# Writing and reading


def test_what_travels_in_the_file(path):
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert json.loads(metadata["spec"])["name"] == "tinynet_e"
    assert metadata["spec_sha256"] == E.sha256
    assert (metadata["source"], metadata["source_sha256"]) == ("origin.pth", "00")
    assert {"tinynet", "numpy", "safetensors"} <= set(metadata)


def test_the_library_reads_what_we_write(path, state):
    read = safetensors.numpy.load_file(path)
    assert_bits({key: read[key] for key in state}, state)


def test_names_and_back(tmp_path, path, state):
    destination = tmp_path / "ms.safetensors"
    convert(path, destination, names="mindspore")
    with safetensors.safe_open(destination, "np") as file:
        assert file.metadata()["format"] == "ms"
        assert set(file.keys()) == set(mindspore_keys(E).values())
    convert(destination, tmp_path / "back.safetensors")
    checkpoint = load_checkpoint(tmp_path / "back.safetensors")
    assert_bits(checkpoint.state, state)
    assert checkpoint.spec == E


def test_the_source_is_recorded(tmp_path, path):
    convert(path, tmp_path / "b.safetensors")
    written = load_checkpoint(tmp_path / "b.safetensors")
    metadata = inspect(tmp_path / "b.safetensors").metadata
    assert metadata["source"] == "e.safetensors"
    assert metadata["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert written.source == "b.safetensors"


def test_other_metadata_is_carried_along(tmp_path, state):
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint(state, E, metadata={"top1": "59.9"}))
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors", names="mindspore")
    assert load_checkpoint(tmp_path / "b.safetensors").metadata == {"top1": "59.9"}


CONVERT_TWICE = """
import sys
import tomllib
from pathlib import Path
sys.modules["torch"] = sys.modules["mindspore"] = None
from tinynet.checkpoints.conversion import convert, inspect
source, destination = sys.argv[1:]
convert(source, destination, names="mindspore")
assert inspect(destination).spec.name == "tinynet_e"
"""


def test_same_bytes_in_every_process_and_without_a_framework(tmp_path, path):
    written = []
    for name in ("one.safetensors", "two.safetensors"):
        command = [sys.executable, "-c", CONVERT_TWICE, str(path), str(tmp_path / name)]
        subprocess.run(command, check=True)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_importing_loads_no_framework():
    program = (
        "import sys, tinynet.checkpoints.conversion, tinynet.checkpoints.files, tinynet.backend\n"
        "import tinynet.net.manifest\n"
        "print([name for name in ('torch', 'mindspore') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert ran.stdout == "[]\n"


def test_a_missing_framework_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mindspore", None)
    (tmp_path / "a.ckpt").write_bytes(b"")
    with pytest.raises(
        BackendError, match=r"MindSpore is needed .*pip install 'tinynet-twins\[mindspore\]'"
    ):
        load_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(BackendError, match="jax: no such twin, expected one of torch, mindspore"):
        load_backend("jax")


# Which spec


def test_a_foreign_file_is_recognised(tmp_path, state):
    path = write_foreign(tmp_path / "timm.safetensors", state, {"format": "pt"})
    assert load_checkpoint(path).spec == E


def test_a_foreign_file_with_other_classes_is_recognised(tmp_path, state):
    ten = state | {key: state[key][:10].copy() for key in classifier_keys(E)}
    assert load_checkpoint(write_foreign(tmp_path / "a.safetensors", ten)).spec.num_classes == 10


def test_a_spec_of_ones_own_travels(tmp_path, state):
    own = dataclasses.replace(E, name="mine", input_size=(3, 128, 128), expected=None)
    save_checkpoint(tmp_path / "a.safetensors", Checkpoint(state, own))
    assert load_checkpoint(tmp_path / "a.safetensors").spec == own


def test_a_named_spec_may_change_what_weights_do_not_depend_on(path):
    larger = dataclasses.replace(E, name="larger", input_size=(3, 128, 128))
    checkpoint = load_checkpoint(path, larger)
    assert checkpoint.spec == larger
    assert "the file's own spec, tinynet_e, gives way to the one named, larger" in checkpoint.notes


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"activation": "relu6"}, "activation"),
        ({"padding": "same"}, "padding"),
        ({"batch_norm": dataclasses.replace(E.batch_norm, eps=1e-3)}, "batch_norm.eps"),
    ],
)
def test_a_named_spec_that_contradicts_the_file_is_refused(path, change, where):
    other = dataclasses.replace(E, name="other", **change)
    with pytest.raises(CheckpointError, match=f"made for tinynet_e, .* differs .* in {where}$"):
        load_checkpoint(path, other)


def test_another_member_is_refused(tmp_path, path, state):
    with pytest.raises(CheckpointError, match="made for tinynet_e, which differs from tinynet_d"):
        load_checkpoint(path, load_spec("tinynet_d"))
    foreign = write_foreign(tmp_path / "a.safetensors", state)
    with pytest.raises(StateError, match="does not fit tinynet_d: missing 19 keys"):
        load_checkpoint(foreign, load_spec("tinynet_d"))


def test_a_new_classifier_on_request_only(tmp_path, path, state):
    ten = E.with_classes(10)
    with pytest.raises(StateError, match="has 1000 classes, tinynet_e has 10; --new-classifier"):
        load_checkpoint(path, ten)
    checkpoint = convert(path, tmp_path / "ten.safetensors", spec=ten, new_classifier=5)
    drawn = initial_state(ten, 5)
    body = {key: array for key, array in state.items() if key not in classifier_keys(E)}
    assert_bits(checkpoint.state, body | {key: drawn[key] for key in classifier_keys(E)})
    assert load_checkpoint(tmp_path / "ten.safetensors").spec == ten
    with pytest.raises(CheckpointError, match="a new classifier needs the spec it is for"):
        load_checkpoint(path, new_classifier=5)


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"bn1.bias": s["bn1.bias"] * np.nan}, "bn1.bias holds a NaN"),
        (lambda s: s | {"bn1.bias": s["bn1.bias"] + np.inf}, "bn1.bias holds a NaN or an inf"),
        (
            lambda s: s | {"bn1.bias": s["bn1.bias"].astype(np.float16)},
            "bn1.bias is float16, expected float32",
        ),
        (lambda s: s | {"extra": np.zeros(1, np.float32)}, r"unexpected 1 key \(extra\)"),
        (lambda s: {k: s[k] for k in s if k != "bn1.bias"}, r"missing 1 key \(bn1.bias\)"),
        (
            lambda s: s | {"classifier.weight": s["classifier.weight"].T.copy()},
            r"classifier.weight has shape \(1280, 1000\), expected \(1000, 1280\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(tmp_path, state, change, message):
    path = write_foreign(tmp_path / "a.safetensors", change(state))
    with pytest.raises(StateError, match=message):
        load_checkpoint(path, E)
    # Where tensors stay in their file, too.
    assert error_of(convert, path, tmp_path / "b.safetensors", E) == error_of(
        load_checkpoint, path, E
    )
    with pytest.raises(StateError, match=message):
        save_checkpoint(tmp_path / "b.safetensors", Checkpoint(change(state), E))
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_bfloat16_is_refused_by_name(tmp_path):
    header = b'{"bn1.bias":{"dtype":"BF16","shape":[32],"data_offsets":[0,64]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    # MindSpore, where imported, teaches NumPy the type under another name.
    with pytest.raises(ValueError, match=r"bn1\.bias is (BF16, expected F32|bfloat16, expected)"):
        load_checkpoint(path, E)


def test_every_flipped_bit_is_noticed(tmp_path, path):
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, header, 60), *rng.integers(header, len(data), 10)]
    damaged = tmp_path / "damaged.safetensors"
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(flipped)
        told = error_of(load_checkpoint, damaged)
        assert error_of(convert, damaged, tmp_path / "b.safetensors") == told
    assert {found.name for found in tmp_path.iterdir()} == {path.name, damaged.name}


def test_a_checkpoint_of_ours_without_its_checksum_is_refused(tmp_path, state):
    # What is left when a bit flips in the checksum's own name.
    path = write_foreign(tmp_path / "a.safetensors", state, {"spec": format_spec(E)})
    with pytest.raises(CheckpointError, match="is damaged, it has a spec but no checksum"):
        load_checkpoint(path)


@pytest.mark.parametrize("size", [0, 7, 100, 20_000, -1])
def test_a_truncated_file_is_refused(tmp_path, path, size):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SafetensorsFileError, match="damaged or no safetensors file"):
        load_checkpoint(damaged)
    assert error_of(inspect, damaged) == error_of(load_checkpoint, damaged)


def test_unknown_suffixes_and_names_are_refused(tmp_path, path, state):
    with pytest.raises(CheckpointError, match=r"a\.onnx: unknown suffix, expected one of \.safet"):
        load_checkpoint(tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match="unknown suffix"):
        convert(path, tmp_path / "a.bin")
    with pytest.raises(CheckpointError, match="this format has canonical names only"):
        save_checkpoint(tmp_path / "a.pth", Checkpoint(state, E), names="mindspore")
    with pytest.raises(CheckpointError, match="this format has mindspore names only"):
        save_checkpoint(tmp_path / "a.ckpt", Checkpoint(state, E), names="canonical")
    with pytest.raises(CheckpointError, match="is the source itself"):
        convert(path, path)
    with pytest.raises(DocumentError, match="does not exist"):
        convert(path, tmp_path / "nowhere" / "a.safetensors")


def test_a_failed_write_keeps_what_was_there(tmp_path, path, monkeypatch):
    destination = tmp_path / "b.safetensors"
    destination.write_text("precious")

    def fail(file, tensors, metadata):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinynet.checkpoints.safetensors_file.write_safetensors", fail)
    with pytest.raises(OSError, match="No space left"):
        convert(path, destination)
    assert destination.read_text() == "precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.safetensors", "e.safetensors"]


def test_inspection_tells_also_of_what_fits_nothing(tmp_path, state):
    foreign = write_foreign(tmp_path / "a.safetensors", state | {"x": np.zeros(2, np.float16)})
    found = inspect(foreign)
    assert found.spec is None
    assert "its 198 tensors fit none of" in found.problem
    assert found.dtypes == ("float16", "float32")
    assert found.layout == "canonical (timm) names"


def test_the_recorded_version_is_the_packages():
    pyproject = Path(__file__).parents[3] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "tinynet.__version__"}
    assert describe(load_spec("tinynet_e"))["tinynet"] == tinynet.__version__
