"""Calibrations of bounds: fitted to runs, kept in files, and checked with fresh seeds."""

import dataclasses
import json
import math

import pytest

from tinynet.spec import format_spec, list_specs, load_spec
from tinynet.utils.strict_json import DocumentError

from parity.candidates import BASELINE, candidates_of
from parity.faults.planting import SPECS
from parity.results import Comparison
from parity.tolerances.bounds import BOUNDS, ROUNDOFF
from parity.tolerances.calibration import (
    DIRECTORY,
    CalibrationError,
    Multiple,
    Setting,
    factor,
    find_calibration,
    find_noise,
    load_calibration,
    load_noise,
    save_calibration,
    save_noise,
    scaled,
    stored_noise,
)
from parity.tolerances.fitting import (
    SeededRun,
    calibrate,
    compare_calibrations,
    compare_noise,
    extend_calibration,
    extend_noise,
    measure_noise,
)
from parity.tolerances.quantities import whole_quantity

SMALL = SPECS["small"]
SETTING = Setting("mindspore", "2.10.0", "cpu", "float32", "pynative")


def comparison(error, noise, where="bn1", quantity="layer", kind="value"):
    return Comparison("mindspore pynative", where, error, math.inf, noise, kind, "", quantity)


def run(seed, *pairs, **named):
    return SeededRun(
        SMALL, seed, tuple(comparison(error, noise, **named) for error, noise in pairs)
    )


def drawn(runs, setting=SETTING):
    noise = measure_noise(BASELINE.setting, runs, "a command")
    return calibrate(setting, noise, runs, "a command")


# Fitting


def test_a_factor_is_twice_the_largest_multiple():
    found = drawn([run(0, (1.5e-6, 1e-6)), run(1, (1.8e-6, 1e-6))])
    multiple = found.multiples["layer"]
    assert (multiple.largest, multiple.compared, multiple.seed, multiple.where) == (
        1.8,
        2,
        1,
        "bn1",
    )
    assert factor(multiple) == 3.6
    assert found.seeds == {"small": 2}


@pytest.mark.parametrize(("largest", "expected"), [(0.1, 2.0), (1.72, 3.5), (7.01, 15), (61, 130)])
def test_factors_have_two_digits_rounded_up_and_are_at_least_two(largest, expected):
    assert factor(Multiple(1.0, largest, 1, "small", 0, "bn1")) == expected


def test_luck_is_not_counted_as_noise():
    # The usual noise is 1e-6; in one run the baseline came out nearly right.
    found = drawn([run(0, (1e-6, 1e-6)), run(1, (1e-6, 1e-6)), run(2, (1e-6, 1e-7))])
    assert found.multiples["layer"].largest == 1.0
    bound = found.bound("layer", SMALL)
    assert bound.noise(1e-7, "bn1") == pytest.approx(1e-6)
    # A net without a calibration has no usual noise, and is held to the limit.
    assert found.bound("layer", load_spec("tinynet_e")) == BOUNDS["layer"]


def test_noise_of_a_coarser_precision_is_scaled():
    coarse = SETTING._replace(precision="bfloat16")
    times = 2.0**16
    noise = measure_noise(BASELINE.setting, [run(0, (1e-6, 1e-6))], "a command")
    found = calibrate(coarse, noise, [run(0, (3e-6 * times, 1e-6 * times))], "a command")
    assert found.multiples["layer"].largest == 3.0
    assert found.bound("layer", SMALL).noise(0.0, "bn1") == pytest.approx(1e-6 * times)
    assert scaled("layer", "bfloat16").noise(0.0) == BOUNDS["layer"].floor * ROUNDOFF * times


@pytest.mark.parametrize(
    "bad",
    [
        run(0, (math.inf, 1e-6), kind="not finite"),
        run(0, (math.inf, 0.0), kind="error", quantity=""),
        run(0, (1e-6, math.inf)),
    ],
    ids=["not finite", "broke off", "noise"],
)
def test_a_run_with_a_fault_calibrates_nothing(bad):
    with pytest.raises(CalibrationError, match=r"small, seed 0: bn1 .* that is a fault"):
        drawn([run(1, (1e-6, 1e-6)), bad])


def test_nothing_compared_calibrates_nothing():
    with pytest.raises(CalibrationError, match="nothing was compared"):
        drawn([SeededRun(SMALL, 0, (Comparison("mindspore", "bn1", 0.0, 0.0, kind="bits"),))])


def test_changes_are_reported():
    before, after = (drawn([run(0, (error, 1e-6))]) for error in (1e-6, 1.9e-6))
    assert compare_calibrations(before, before) == []
    assert compare_calibrations(before, after) == [
        "layer: largest multiple 1 (factor 2) -> 1.9 (factor 3.8)"
    ]
    noisier = drawn([run(0, (2e-6, 2e-6))]).noise
    assert compare_noise(before.noise, before.noise) == []
    (line,) = compare_noise(before.noise, noisier)
    assert line.startswith("layer: noise 2 times as before")


# Adding to what is there


def other_run(seed, *pairs):
    return run(seed, *pairs)._replace(spec=SPECS["basic"])


def test_an_extended_calibration_is_that_of_all_runs():
    first = [run(0, (1.5e-6, 1e-6)), run(1, (1.8e-6, 1e-6))]
    second = [other_run(0, (2.5e-6, 1e-6))]
    before = drawn(first)
    noise = extend_noise(before.noise, measure_noise(BASELINE.setting, second, "another"))
    found = extend_calibration(before, calibrate(SETTING, noise, second, "another"))
    whole = drawn([*first, *second])
    assert found.noise.noise == whole.noise.noise
    assert found.multiples["layer"]._replace(median=0) == whole.multiples["layer"]._replace(
        median=0
    )
    assert found.seeds == whole.seeds == {"small": 2, "resnet_basic": 1}
    assert found.command == "a command && another"
    assert found.bound("layer", SPECS["basic"]).factor == 5.0


def test_what_was_calibrated_stays_when_a_calibration_is_extended():
    before = drawn([run(0, (1.8e-6, 1e-6))])
    again = [run(0, (1e-6, 4e-6)), run(1, (1e-6, 4e-6))]
    more = measure_noise(BASELINE.setting, again, "another")
    assert extend_noise(before.noise, more) == before.noise  # the place was known
    found = extend_calibration(before, calibrate(SETTING, before.noise, again, "another"))
    assert found.multiples["layer"].largest == 1.8
    assert found.multiples["layer"].compared == 3
    places = [run(0, (1e-6, 3e-6), where="bn2")]
    noise = extend_noise(before.noise, measure_noise(BASELINE.setting, places, "another"))
    assert noise.noise[SMALL.sha256] == {"layer": {"bn1": 1e-6, "bn2": 3e-6}}


# Keeping


def kept(folder, calibration):
    save_noise(calibration.noise, folder)
    return save_calibration(calibration, folder)


def test_a_calibration_comes_back_from_its_file(tmp_path):
    calibration = drawn([run(0, (1e-6, 1e-6))])
    path = kept(tmp_path, calibration)
    assert path.name == "mindspore-2.10.0-cpu-float32-pynative.json"
    assert load_calibration(path) == calibration == find_calibration(SETTING, tmp_path)
    assert find_noise(BASELINE.setting, tmp_path) == calibration.noise
    assert stored_noise(SMALL, "layer", "bn1", tmp_path) == 1e-6
    assert stored_noise(SMALL, "layer", "bn2", tmp_path) is None
    assert find_calibration(SETTING._replace(version="2.11.0"), tmp_path) is None


def test_what_needs_more_than_the_limit_is_refused_when_it_is_written_and_when_it_is_read(tmp_path):
    limit = BOUNDS["layer"].factor
    calibration = drawn([run(0, (1e-6 * limit, 1e-6))])
    message = f"layer needs a factor of {2 * limit:g} at bn1 .* look for a fault"
    with pytest.raises(CalibrationError, match=message):
        kept(tmp_path, calibration)
    path = kept(tmp_path, drawn([run(0, (1e-6, 1e-6))]))
    path.write_text(path.read_text().replace('"largest": 1.0', f'"largest": {limit}'))
    load_calibration.cache_clear()
    with pytest.raises(CalibrationError, match=message):
        load_calibration(path)


def test_a_file_that_is_no_calibration_is_refused(tmp_path):
    path = kept(tmp_path, drawn([run(0, (1e-6, 1e-6))]))
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"setting": document["setting"] | {"precision": "int8"}}))
    load_calibration.cache_clear()
    with pytest.raises(DocumentError, match='precision is "int8", expected one of float32'):
        load_calibration(path)


# What is shipped


@pytest.mark.parametrize("candidate", [BASELINE, *candidates_of()], ids=str)
def test_every_way_to_run_on_a_cpu_is_calibrated(candidate):
    found = find_calibration(candidate.setting)
    assert found is not None
    # Each limit holds for something that was measured.
    assert set(found.multiples) == set(BOUNDS)
    assert found.baseline == BASELINE.setting


def test_the_noise_of_every_shipped_spec_is_stored():
    noise = load_noise(DIRECTORY / BASELINE.setting.noise_name)
    small = [SPECS[kind] for kind in ("basic", "bottleneck")]
    calibrated = [*map(load_spec, list_specs()), *small]
    assert set(noise.seeds) == {spec.name for spec in calibrated}
    for spec in calibrated:
        places = noise.noise[spec.sha256]
        assert places[whole_quantity("logits", spec)].keys() == {spec.names.classifier}
        assert all(value > 0 for by_place in places.values() for value in by_place.values())


# The command


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(format_spec(SMALL))
    return path


def test_calibrate_then_check_fresh_seeds(small, tmp_path, run_script):
    folder = tmp_path / "calibrations"
    arguments = ("calibrate", "--specs", f"{small}:1", "--modes", "pynative", "--output", folder)
    status, out, _ = run_script("parity", *arguments, "--keep", tmp_path / "kept", "--json")
    (result,) = json.loads(out)
    assert (status, result["runs"]) == (0, 1)
    assert result["changes"] == ["there was none before"]
    assert all(2 <= f <= BOUNDS[quantity].factor for quantity, f in result["factors"].items())
    # Once more from what was kept: nothing is run, and nothing changes.
    status, out, _ = run_script("parity", *arguments, "--keep", tmp_path / "kept", "--noise")
    assert status == 0
    assert "changes:\n  none" in out
    # Seeds that were run already, so that no chance is in the test.
    status, out, _ = run_script("parity", *arguments, "--check", "--json")
    (result,) = json.loads(out)
    assert (status, result["runs"], result["false_alarms"]) == (0, 1, [])
    # Half, as factors are twice what was seen, but for the three digits that noise is kept in.
    assert result["worst_share_of_bound"] == pytest.approx(0.5, rel=0.01)
    # With factors for a framework as good as PyTorch there must be alarms: MindSpore has its exp.
    found = load_calibration(folder / SETTING.file_name)
    as_good = {quantity: m._replace(largest=1.0) for quantity, m in found.multiples.items()}
    save_calibration(dataclasses.replace(found, multiples=as_good), folder)
    checks = ("--checks", "layers-isolated,layers-chained,logits")
    status, out, _ = run_script("parity", *arguments, "--check", *checks, "--json")
    (result,) = json.loads(out)
    assert status == 1
    assert {alarm["candidate"] for alarm in result["false_alarms"]} >= {"mindspore pynative"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--specs", "tinynet_e"), "--specs has 'tinynet_e', expected SPEC:NUMBER"),
        (("--specs", "tinynet_e:0"), "--specs has 'tinynet_e:0', expected SPEC:NUMBER"),
        (("--specs", "nobody:1"), "nobody: no such spec"),
        (("--modes", "fast"), "modes are fast, expected some of pynative, graph"),
        (("--precision", "int8"), "precision is 'int8', expected one of float32"),
        (("--device", "tpu"), "device is 'tpu'"),
        (("--extend", "--check"), "--extend goes with neither --check nor --noise"),
        (("--checks", "logits"), "--checks without --check: a calibration is of all its checks"),
        (("--check", "--checks", "spec"), "checks are spec, expected some of layers-isolated"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(arguments, message, run_script):
    status, out, err = run_script("parity", "calibrate", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
