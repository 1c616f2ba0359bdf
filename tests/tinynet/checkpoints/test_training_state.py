import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import tinynet.checkpoints.training_state
from tinynet.checkpoints.files import Checkpoint, load_checkpoint, save_checkpoint
from tinynet.checkpoints.safetensors_file import (
    SafetensorsFileError,
    read_safetensors,
    write_safetensors,
)
from tinynet.checkpoints.training_state import (
    Best,
    TrainingStateError,
    initial_training_state,
    load_training_state,
    save_training_state,
)
from tinynet.net.initialise import initial_state
from tinynet.net.manifest import StateError, manifest
from tinynet.recipe import RecipeError
from tinynet.spec import SpecError, load_spec
from tinynet.utils.strict_json import DocumentError

from training_states import SMALL, assert_same, recipe, run_state

STATISTICS = ("running_mean", "running_var")


@pytest.fixture(scope="module")
def state():
    return run_state("rmsprop", ema=True)


@pytest.fixture
def path(tmp_path, state):
    path = tmp_path / "last.safetensors"
    save_training_state(path, state)
    return path


def rewrite(path, change):
    """The file again, as a careless tool would leave it: changed, but for its checksums."""
    tensors, metadata = read_safetensors(path)
    tensors, metadata = change(tensors, metadata) or (tensors, metadata)
    with path.open("wb") as file:
        write_safetensors(file, tensors, metadata)
    return path


# The file


@pytest.mark.parametrize("optimizer", ["rmsprop", "sgd"])
@pytest.mark.parametrize("ema", [True, False])
def test_a_round_trip_keeps_every_bit(tmp_path, optimizer, ema):
    state = run_state(optimizer, ema)
    save_training_state(tmp_path / "a.safetensors", state)
    assert_same(load_training_state(tmp_path / "a.safetensors"), state)


def test_what_the_file_holds(path, state):
    read = safetensors.numpy.load_file(path)
    trained = [key for key in manifest(SMALL) if not key.endswith(STATISTICS)]
    assert set(read) == {
        *manifest(SMALL),
        *(f"ema.{key}" for key in manifest(SMALL)),
        *(f"optimizer.mean_square.{key}" for key in trained),
        *(f"optimizer.momentum.{key}" for key in trained),
    }
    assert read["ema.bn1.bias"].tobytes() == state.ema["bn1.bias"].tobytes()
    slot = state.slots["momentum"]["conv_stem.weight"]
    assert read["optimizer.momentum.conv_stem.weight"].tobytes() == slot.tobytes()
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["spec"])["name"] == "small"
    assert json.loads(metadata["recipe"])["name"] == state.progress.recipe.name
    training = json.loads(metadata["training"])
    assert (training["version"], training["step"], training["position"]) == (1, 70, 70 * 16)
    assert training["epoch"] == 70 * 16 / 300
    assert training["best"] == {"metric": "ema_top1", "value": 0.1 + 0.2, "step": 60}


SAVE = """
import sys
from training_states import run_state
from tinynet.checkpoints.training_state import save_training_state
save_training_state(sys.argv[1], run_state("rmsprop", ema=True))
assert not {"torch", "mindspore"} & set(sys.modules)
"""


def test_the_same_state_is_the_same_bytes_in_every_process(tmp_path, path):
    other = tmp_path / "other.safetensors"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{SAVE}", str(other)]
    subprocess.run(command, check=True)
    assert other.read_bytes() == path.read_bytes()


def test_the_order_of_keys_does_not_matter(tmp_path, path, state):
    def turned(arrays):
        return {key: arrays[key] for key in reversed(arrays)}

    slots = {slot: turned(arrays) for slot, arrays in turned(state.slots).items()}
    other = dataclasses.replace(
        state, weights=turned(state.weights), ema=turned(state.ema), slots=slots
    )
    save_training_state(tmp_path / "b.safetensors", other)
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("value", [0.1 + 0.2, 1e-300, 65536.0, math.nextafter(1.0, 2.0), -0.0])
def test_floats_are_read_back_exactly(tmp_path, state, value):
    best = Best("loss", value, 3)
    progress = dataclasses.replace(state.progress, best=best, loss_scale=abs(value) or 1.0)
    save_training_state(tmp_path / "a", dataclasses.replace(state, progress=progress))
    found = load_training_state(tmp_path / "a").progress
    assert found == progress
    assert repr(found.best.value) == repr(value)


# The start


def test_the_initial_state():
    state = initial_training_state(SMALL, recipe("rmsprop", ema=True), 5, 300, "ab")
    drawn = initial_state(SMALL, 5)
    for arrays in (state.weights, state.ema):
        assert {k: a.tobytes() for k, a in arrays.items()} == {
            k: a.tobytes() for k, a in drawn.items()
        }
    assert not np.shares_memory(state.ema["bn1.bias"], state.weights["bn1.bias"])
    assert list(state.slots) == ["mean_square", "momentum"]
    for slot, start in (("mean_square", 1.0), ("momentum", 0.0)):
        assert list(state.slots[slot]) == [k for k in manifest(SMALL) if not k.endswith(STATISTICS)]
        for key, array in state.slots[slot].items():
            assert (array.dtype, array.shape) == (np.float32, drawn[key].shape)
            assert (array == start).all()
    progress = state.progress
    assert (progress.step, progress.epoch, progress.position, progress.ema_updates) == (0, 0, 0, 0)
    assert (progress.best, progress.loss_scale, progress.good_steps) == (None, 1.0, 0)


def test_the_initial_state_from_weights(state):
    sgd = initial_training_state(SMALL, recipe("sgd", ema=False), 5, 300, "ab", state.weights)
    assert sgd.weights["bn1.bias"].tobytes() == state.weights["bn1.bias"].tobytes()
    assert sgd.ema is None
    assert list(sgd.slots) == ["momentum"]
    with pytest.raises(StateError, match="weights: does not fit tinynet_e"):
        initial_training_state(load_spec("tinynet_e"), sgd.progress.recipe, 5, 300, "", sgd.weights)


# What is refused


@pytest.mark.parametrize("load", [load_training_state, load_checkpoint])
def test_every_flipped_bit_is_noticed(path, load):
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    rng = np.random.default_rng(0)
    for place in [*rng.integers(0, header, 120), *rng.integers(header, len(data), 60)]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            load(path)


@pytest.mark.parametrize(
    "name", ["conv_head.weight", "ema.bn1.running_var", "optimizer.mean_square.bn1.bias"]
)
def test_a_flipped_bit_in_a_tensor_is_called_damage(path, name):
    def flip(tensors, metadata):
        tensors[name].view(np.uint8).flat[0] ^= 1

    with pytest.raises(TrainingStateError, match=r"last\.safetensors: is damaged, its content"):
        load_training_state(rewrite(path, flip))


@pytest.mark.parametrize("key", ["spec_sha256", "training_sha256", "content_sha256", "tinynet"])
def test_a_changed_string_is_called_damage(path, key):
    with pytest.raises(TrainingStateError, match="is damaged, its content does not match"):
        load_training_state(rewrite(path, lambda t, m: (t, m | {key: m[key] + "0"})))


@pytest.mark.parametrize("key", ["spec", "recipe", "training", "training_sha256", "content_sha256"])
def test_a_missing_string_is_called_damage(path, key):
    def drop(tensors, metadata):
        del metadata[key]

    rewrite(path, drop)
    with pytest.raises(TrainingStateError, match=f"is damaged, it has no {key} in its metadata"):
        load_training_state(path)
    with pytest.raises(ValueError, match=r"last\.safetensors: is damaged, "):
        load_checkpoint(path)


@pytest.mark.parametrize("size", [0, 7, 100, 20_000, -1])
def test_a_truncated_file_is_refused(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(SafetensorsFileError, match="damaged or no safetensors file"):
        load_training_state(path)


SLOT = "optimizer.momentum.classifier.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(SLOT), rf"missing 1 key \({SLOT}\)"),
        (lambda t: t.pop("ema.bn1.bias"), r"missing 1 key \(ema\.bn1\.bias\)"),
        (lambda t: t.pop("bn1.bias"), r"missing 1 key \(bn1\.bias\)"),
        (
            lambda t: t.update({"optimizer.momentum.bn1.running_mean": t["bn1.running_mean"]}),
            r"unexpected 1 key \(optimizer\.momentum\.bn1\.running_mean\)",
        ),
        (lambda t: t.update({SLOT: t[SLOT][:3]}), rf"{SLOT} has shape \(3,\), expected \(10,\)"),
        (lambda t: t.update({SLOT: t[SLOT] * np.nan}), rf"{SLOT} holds a NaN or an infinity"),
        (lambda t: t.update({"ema.bn1.bias": t["bn1.bias"] + np.inf}), "ema.bn1.bias holds a NaN"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_when_read(path, change, message):
    def changed(tensors, metadata):
        change(tensors)

    place = rf"last\.safetensors: does not fit small trained by recipe \w+: {message}"
    with pytest.raises(StateError, match=place):
        load_training_state(rewrite(path, changed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"ema": None}, r"missing \d+ keys \(ema\.conv_stem\.weight, "),
        (
            lambda s: {"slots": {"momentum": s.slots["momentum"]}},
            r"missing \d+ keys \(optimizer\.mean_square\.conv_stem\.weight, ",
        ),
        (
            lambda s: {"weights": s.weights | {"bn1.bias": s.weights["bn1.bias"] / np.float32(0)}},
            "bn1.bias holds a NaN or an infinity",
        ),
        (
            lambda s: {"ema": {k: a.astype(np.float64) for k, a in s.ema.items()}},
            r"ema\.conv_stem\.weight is float64, expected float32",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_tensors_that_do_not_fit_are_refused_when_written(tmp_path, state, change, message):
    with pytest.raises(StateError, match=message):
        save_training_state(tmp_path / "a", dataclasses.replace(state, **change(state)))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "its progress: step is -1, expected a whole number from 0"),
        ({"ema_updates": -1}, "its progress: ema_updates is -1, expected a whole number from 0"),
        ({"loss_scale": 0.0}, "its progress: loss_scale is 0.0, expected a number above 0"),
        ({"best": Best("top1", math.nan, 3)}, "its progress: NaN is not a JSON number"),
    ],
)
def test_a_progress_that_cannot_be_is_refused_when_written(tmp_path, state, change, message):
    progress = dataclasses.replace(state.progress, step=0)
    progress = dataclasses.replace(progress, **change)
    with pytest.raises(TrainingStateError, match=message):
        save_training_state(tmp_path / "a", dataclasses.replace(state, progress=progress))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": 3}, r"its progress: position is 3, expected 1120 at step 70$"),
        ({"epoch": 3.5}, r"its progress: epoch is 3\.5, expected 3\.7333333\d* at step 70$"),
        ({"version": 2}, r"its progress: version is 2, expected 1, the only one there is$"),
        ({"lr": 2}, r'its progress: unknown key "lr", expected one of version, '),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(path, monkeypatch, state, change, message):
    # Written by a program with a fault, checksums and all.
    document = tinynet.checkpoints.training_state._document
    monkeypatch.setattr(
        "tinynet.checkpoints.training_state._document", lambda p: document(p) | change
    )
    with pytest.raises(TrainingStateError, match=message):
        save_training_state(path, state)


def test_a_file_of_weights_is_not_taken_for_one_of_training(tmp_path, state):
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, Checkpoint(state.weights, SMALL))
    with pytest.raises(TrainingStateError, match=r"holds only weights, .* with --weights$"):
        load_training_state(path)


@pytest.mark.parametrize(("key", "error"), [("spec", SpecError), ("recipe", RecipeError)])
def test_a_garbled_document_is_named(path, key, error):
    with pytest.raises(error, match=rf"last\.safetensors: its {key}: not valid JSON"):
        load_training_state(rewrite(path, lambda t, m: (t, m | {key: "{"})))


def test_a_failed_write_keeps_what_was_there(tmp_path, path, state, monkeypatch):
    def fail(file, tensors, metadata):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinynet.checkpoints.safetensors_file.write_safetensors", fail)
    with pytest.raises(OSError, match="No space left"):
        save_training_state(path, state)
    assert_same(load_training_state(path), state)
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]
    with pytest.raises(DocumentError, match="does not exist"):
        save_training_state(tmp_path / "nowhere" / "a.safetensors", state)
