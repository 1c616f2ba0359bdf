"""Recordings: made where one framework is, compared where none is."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from mindspore import nn

from tinynet.spec import format_spec
from tinynet.utils.environment import NOT_INSTALLED, environment, version

import mindspore_impl.blocks
import mindspore_impl.model
from parity.candidates import candidates_of
from parity.checks import RECORDED
from parity.recordings.format import (
    SAMPLE,
    read_recording,
    recorded,
    sample,
    write_recording,
)
from parity.recordings.record import record_again
from training_states import SMALL

SCRIPT = Path(__file__).parents[2] / "scripts" / "parity.py"
LAYER = "layers-isolated/blocks.1.0.conv_dw"


def without(packages, *arguments):
    """Runs parity.py in a process that has not these packages; gives its standard output."""
    argv = [str(SCRIPT), *map(str, arguments)]
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({packages})); sys.argv = {argv}; "
        f"sys.path.insert(0, {str(SCRIPT.parent)!r}); "
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    # Without what a twin set in this process when it was imported.
    clean = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder with the recording of a machine without PyTorch, and one recorded from it without
    MindSpore.
    """
    folder = tmp_path_factory.mktemp("recordings")
    spec = folder / "small.json"
    spec.write_text(format_spec(SMALL))
    for framework, other, start in (
        ("mindspore", "torch", ("--spec", spec)),
        ("torch", "mindspore", ("--from", folder / "mindspore")),
    ):
        where = ("--framework", framework, "--out", folder / framework)
        without([other, "onnx", "onnxruntime"], "record", *where, *start, "--json")
    return folder


@pytest.fixture
def compare(recordings, tmp_path, run_script):
    """Compares MindSpore's recording, changed, with PyTorch's; gives the status and the JSON."""

    def run(change=lambda recording: recording, *arguments, has_reference=True):
        pair = [read_recording(recordings / name) for name in ("torch", "mindspore")]
        if not has_reference:
            pair[0] = dataclasses.replace(pair[0], truth={})
        paths = [tmp_path / "torch", tmp_path / "mindspore"]
        for recording, path in zip((pair[0], change(pair[1])), paths, strict=True):
            write_recording(recording, path)
        status, out, err = run_script("parity", "compare", *paths, "--json", *arguments)
        return status, json.loads(out) if out else err

    return run


def with_tensor(name, change):
    def changed(recording):
        item = change(recording.recorded[name])
        return dataclasses.replace(recording, recorded={**recording.recorded, name: item})

    return changed


def scaled(factor):
    return lambda item: item._replace(sample=(factor * item.sample).astype(np.float32))


# What two machines recorded


def test_recordings_are_compared_where_no_framework_is(recordings):
    out = without(
        ["torch", "mindspore", "onnx", "onnxruntime"],
        "compare",
        recordings / "torch",
        recordings / "mindspore",
        "--json",
    )
    found = json.loads(out)
    assert found["passed"]
    assert found["has_reference"]
    assert [check["name"] for check in found["checks"]] == list(RECORDED)
    assert all(check["compared"] > 0 for check in found["checks"])


@pytest.mark.parametrize("has_reference", [True, False])
def test_all_that_a_framework_computes_is_within_its_bound(has_reference, compare):
    status, found = compare(has_reference=has_reference)
    assert (status, found["passed"], found["has_reference"]) == (0, True, has_reference)


def test_a_recording_recorded_from_another_is_given_the_same_bits(recordings):
    first, second = (
        read_recording(recordings / name).given.tensors for name in ("mindspore", "torch")
    )
    assert list(first) == list(second)
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_only_the_references_framework_records_the_truth(recordings):
    mindspore, torch = (read_recording(recordings / name) for name in ("mindspore", "torch"))
    assert not mindspore.truth
    assert list(torch.truth) == list(torch.recorded) == list(mindspore.recorded)
    # Every noise is that of float32, far from float64's and from no digits at all.
    for recording in (mindspore, torch):
        assert list(recording.noise) == list(recording.recorded)
        isolated = [
            recording.noise[name] for name in recording.noise if name.startswith("layers-isolated/")
        ]
        assert 1e-9 < np.median(isolated) < 1e-6


# Planted differences


@pytest.mark.parametrize("has_reference", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        LAYER,
        "layers-chained/blocks.1.1",
        "logits/classifier",
        "loss/loss",
        "gradients-chained/blocks.0.0.conv_dw.weight",
        "statistics/bn1.running_var",
        "optimizer/rmsprop/momentum of classifier.weight",
        "ema/bn1.weight",
        "trajectory/averaged weights",
    ],
)
def test_a_planted_difference_is_found_where_it_is(name, has_reference, compare):
    status, found = compare(with_tensor(name, scaled(1.01)), has_reference=has_reference)
    first = found["first_divergence"]
    check, *_, where = name.split("/")
    assert (status, first["check"], first["where"]) == (1, check, where)
    assert first["error"] == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda item: item._replace(norm=float("nan")), "not finite"),
        (lambda item: item._replace(shape=(1, *item.shape)), "shape"),
    ],
)
def test_what_a_sample_does_not_show(change, kind, compare):
    status, found = compare(with_tensor(LAYER, change))
    assert (status, found["first_divergence"]["kind"]) == (1, kind)


@pytest.mark.parametrize("has_reference", [True, False])
def test_layers_that_only_one_has(has_reference, compare):
    def renamed(recording):
        tensors = {
            name.replace(LAYER, f"{LAYER}2"): item for name, item in recording.recorded.items()
        }
        return dataclasses.replace(recording, recorded=tensors)

    status, found = compare(renamed, has_reference=has_reference)
    failures = found["checks"][0]["failures"]
    kinds = {item["where"]: item["kind"] for item in failures}
    layer = LAYER.partition("/")[2]
    assert (status, kinds) == (1, {layer: "missing", f"{layer}2": "unexpected"})


def test_a_wrong_eps_in_one_framework_is_found_at_the_first_batch_norm(
    recordings, tmp_path, run_script
):
    right = mindspore_impl.blocks.batch_norm

    def batch_norm(channels, settings):
        if settings is None:  # in the folded net that evaluates
            return right(channels, settings)
        return nn.BatchNorm2d(channels, eps=1e-3, momentum=1 - settings.momentum)

    (candidate,) = candidates_of("mindspore", ["pynative"])
    with (
        mock.patch.object(mindspore_impl.blocks, "batch_norm", batch_norm),
        mock.patch.object(mindspore_impl.model, "batch_norm", batch_norm),
    ):
        recording = record_again(candidate, read_recording(recordings / "torch"))
    write_recording(recording, tmp_path / "wrong")
    status, out, _ = run_script(
        "parity",
        "compare",
        recordings / "torch",
        tmp_path / "wrong",
        "--report",
        tmp_path / "report",
    )
    assert status == 1
    place = f"bn1 ({tmp_path / 'wrong'}: mindspore pynative), check layers-isolated"
    assert f"first divergence: {place}" in out
    assert json.loads((tmp_path / "report" / "parity.json").read_text())["passed"] is False


# What differs beside the numbers


def test_a_difference_of_the_environment_comes_first(recordings, tmp_path, run_script):
    recording = read_recording(recordings / "mindspore")
    variables = {**recording.environment, "numpy": "1.0", "NVIDIA_TF32_OVERRIDE": "1"}
    write_recording(dataclasses.replace(recording, environment=variables), tmp_path / "other")
    pair = recordings / "mindspore", tmp_path / "other"
    status, out, _ = run_script("parity", "compare", *pair)
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "differences that may explain others:"
    assert [line.split() for line in lines[1:3]] == [
        ["numpy", recording.environment["numpy"], "|", "1.0"],
        ["NVIDIA_TF32_OVERRIDE", "not", "set", "|", "1"],
    ]
    _, out, _ = run_script("parity", "compare", *pair, "--json")
    found = json.loads(out)
    assert next(iter(found)) == "differences"
    assert {item["meaning"] for item in found["differences"]} == {"may explain"}


def test_that_the_frameworks_are_two_is_expected(compare):
    _, found = compare()
    meanings = {item["what"]: item["meaning"] for item in found["differences"]}
    assert meanings["framework"] == meanings["version"] == meanings["mode"] == "expected"
    # MindSpore's twin sets it for itself.
    assert meanings["ONEDNN_MAX_CPU_ISA"] == "may explain"


def other_pixels(recording):
    pixels = recording.given.pixels.copy()
    pixels[0, 0, 0, 0] += 1e-6
    return dataclasses.replace(recording, given=dataclasses.replace(recording.given, pixels=pixels))


def other_state(recording):
    state = {
        key: array + np.float32(key == "bn1.bias") for key, array in recording.given.state.items()
    }
    return dataclasses.replace(recording, given=dataclasses.replace(recording.given, state=state))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (other_pixels, "pixels is"),
        (other_state, "state/bn1.bias is"),
        (lambda recording: dataclasses.replace(recording, seed=7), "seed is 0 and 7"),
        (lambda recording: dataclasses.replace(recording, images_sha256="0"), "images sha256 is"),
        (
            lambda recording: dataclasses.replace(
                recording, spec=dataclasses.replace(SMALL, activation="relu6")
            ),
            "spec (activation) is small and small",
        ),
        (
            lambda recording: dataclasses.replace(
                recording, recipe=dataclasses.replace(recording.recipe, batch_size=2)
            ),
            "recipe (batch_size",
        ),
    ],
)
def test_what_was_recorded_from_something_else_is_not_compared(change, reason, compare):
    status, err = compare(change)
    assert status == 2
    assert f"cannot be compared: {reason}" in err
    assert err.count("\n") == 1


def test_what_is_not_installed_is_said_so(monkeypatch):
    assert version("no-such-package") == NOT_INSTALLED
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.setenv("HOME_OF_NOTHING", "secret")
    found = environment()
    assert found["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert "HOME_OF_NOTHING" not in found
    assert found["processor"]


# Recordings as files


@pytest.mark.parametrize(
    "file", ["manifest.json", "given.safetensors", "recorded.safetensors", "truth.safetensors"]
)
def test_a_flipped_bit_is_refused(file, recordings, tmp_path, run_script):
    write_recording(read_recording(recordings / "torch"), tmp_path / "torch")
    path = tmp_path / "torch" / file
    data = bytearray(path.read_bytes())
    # Of the JSON, a digit within the noise.
    data[-200 if file == "manifest.json" else -5] ^= 1
    path.write_bytes(data)
    status, out, err = run_script("parity", "compare", tmp_path / "torch", recordings / "mindspore")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {path}: ")
    assert err.count("\n") == 1


def test_a_file_that_is_missing_is_named(recordings, tmp_path, run_script):
    write_recording(read_recording(recordings / "torch"), tmp_path / "torch")
    (tmp_path / "torch" / "given.safetensors").unlink()
    status, _, err = run_script("parity", "compare", tmp_path / "torch", recordings / "mindspore")
    assert status == 2
    assert "given.safetensors: is missing, manifest.json lists it" in err


def test_what_is_read_is_what_was_written(recordings, tmp_path):
    recording = read_recording(recordings / "torch")
    write_recording(recording, tmp_path / "again")
    for path in (recordings / "torch").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_the_format_is_that_of_recordings_made_before(recordings):
    folder = recordings / "torch"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(manifest) == [
        "pack_version",
        "setting",
        "weights",
        "seed",
        "images_sha256",
        "environment",
        "switches",
        "spec",
        "recipe",
        "files",
        "layers",
        "recorded",
        "noise",
        "truth",
        "sha256",
    ]
    assert manifest["pack_version"] == 1
    assert list(manifest["files"]) == [f"{n}.safetensors" for n in ("given", "recorded", "truth")]
    checks = dict.fromkeys(name.partition("/")[0] for name in manifest["recorded"])
    assert sorted(checks) == sorted(RECORDED)
    given = read_recording(folder).given.tensors
    assert {name.partition("/")[0] for name in given} == {
        "pixels",
        "training_pixels",
        "labels",
        "state",
        "layer",
        "gradient",
    }
    # Which numbers of a large tensor are kept, by its name.
    name = "layers-chained/conv_stem"
    assert sample(name, np.arange(100_000))[:4].tolist() == [34, 35, 48, 97]


def test_an_infinite_noise_or_norm_survives_the_file(recordings, tmp_path):
    recording = read_recording(recordings / "torch")
    noise = {**recording.noise, LAYER: np.inf}
    truth = {**recording.truth, LAYER: recording.truth[LAYER]._replace(norm=np.inf)}
    write_recording(dataclasses.replace(recording, noise=noise, truth=truth), tmp_path / "again")
    again = read_recording(tmp_path / "again")
    assert again.noise[LAYER] == again.truth[LAYER].norm == np.inf


def test_a_sample_is_the_same_in_every_recording_and_shows_the_error_of_the_whole():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(8, 64, 50))
    found = truth * (1 + 1e-6 * rng.normal(size=truth.shape))
    assert sample("a", truth).shape == (SAMPLE,)
    assert np.array_equal(sample("a", truth), sample("a", truth.copy()))
    whole = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    kept, exact = sample("a", found), sample("a", truth)
    assert np.linalg.norm(kept - exact) / np.linalg.norm(exact) == pytest.approx(whole, rel=0.05)
    assert recorded("a", truth[0, 0]).sample.size == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("record", "--framework", "torch", "--out", "new"),
            "none of --spec, --weights",
        ),
        (("record", "--framework", "torch", "--out", "no/where"), "no/where: the folder no does"),
        (("record", "--framework", "torch", "--out", "."), ".: is there already"),
        (
            ("record", "--framework", "torch", "--out", "new", "--from", "p", "--seed", "1"),
            "--from brings its own seed",
        ),
        (
            ("record", "--framework", "torch", "--out", "new", "--from", "."),
            ".: is not a recording",
        ),
        (("compare", "nothing", "."), "nothing: No such file"),
        (("compare", ".", "."), ".: is not a recording"),
        (("compare", ".", ".", "--ema"), "--ema is for files"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    arguments, message, tmp_path, run_script, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    status, out, err = run_script("parity", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_checks_that_a_recording_does_not_have(compare):
    status, err = compare(lambda recording: recording, "--checks", "onnx")
    assert (status, "checks are onnx, expected some of layers-isolated" in err) == (2, True)
