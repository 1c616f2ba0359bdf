"""The parity command: what it takes, what it refuses, what it leaves."""

import dataclasses
import json
import re

import pytest

from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.net.initialise import initial_state
from tinynet.spec import Head, Stage, Stem, format_spec, load_spec

from parity.checks import CHECKS, RECORDED

SMALL = dataclasses.replace(
    load_spec("tinynet_e").with_classes(10),
    name="small",
    input_size=(3, 32, 32),
    stem=Stem(3, 2, 8),
    stages=(Stage("ir", 1, 3, 2, 2, 8),),
    head=Head(16),
)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(format_spec(SMALL))
    return path


def test_weights_from_a_file_bring_their_spec(tmp_path, run_script):
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, Checkpoint(initial_state(SMALL, 3), SMALL))
    status, out, _ = run_script("parity", "--weights", path, "--checks", "parameters", "--json")
    found = json.loads(out)
    assert (status, found["spec"], found["weights"]) == (0, "small", str(path))
    assert [check["name"] for check in found["checks"]] == ["parameters"]
    assert found["environment"]["torch"]


def test_checks_are_run_in_the_suites_order_whatever_order_they_are_named_in(small, run_script):
    checks = "logits,spec,parameters"
    status, out, _ = run_script(
        "parity", "--spec", small, "--checks", checks, "--modes", "pynative", "--json"
    )
    assert status == 0
    names = [check["name"] for check in json.loads(out)["checks"]]
    assert names == ["spec", "parameters", "logits"]


def test_the_report_is_written_and_named(small, tmp_path, run_script):
    folder = tmp_path / "report"
    status, out, _ = run_script(
        "parity", "--spec", small, "--checks", "spec,parameters", "--report", folder
    )
    assert status == 0
    assert "PASSED" in out
    assert str(folder / "parity.html") in out
    assert sorted(path.name for path in folder.iterdir()) == ["parity.html", "parity.json"]


def test_input_channels_that_no_photograph_has(tmp_path, run_script):
    statistics = dataclasses.replace(SMALL.preprocessing, mean=(0.5,) * 4, std=(0.5,) * 4)
    spec = dataclasses.replace(SMALL, name="four", input_size=(4, 32, 32), preprocessing=statistics)
    path = tmp_path / "four.json"
    path.write_text(format_spec(spec))
    status, out, _ = run_script(
        "parity",
        "--spec",
        path,
        "--checks",
        "logits,metrics,trajectory",
        "--modes",
        "pynative",
        "--json",
    )
    assert (status, json.loads(out)["passed"]) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "neither --spec nor --weights is given, expected at least one of them"),
        (("--spec", "nobody"), "nobody: no such spec"),
        (("--spec", "tinynet_e", "--checks", "logit"), "checks are logit, expected some of spec"),
        (("--spec", "tinynet_e", "--modes", "fast"), "modes are fast, expected some of pynative"),
        (("--weights", "no.safetensors"), "no.safetensors: No such file or directory"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(arguments, message, run_script):
    status, out, err = run_script("parity", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "heading", "checks"),
    [
        (("parity",), "checks, in the order in which they run:", CHECKS),
        (("parity", "compare"), "checks of recordings:", RECORDED),
    ],
)
def test_help_lists_the_checks_there_are(words, heading, checks, run_script):
    status, out, _ = run_script(*words, "--help")
    listed = out.partition(f"{heading}\n")[2].partition("\n\n")[0]
    assert (status, re.findall(r"[\w-]+", listed)) == (0, list(checks))
