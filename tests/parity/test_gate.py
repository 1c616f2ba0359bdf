"""The gate: what passes it, what does not, and that nothing passes by accident."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet.spec import format_spec

from gates import ENTRY, FAILS, GONE, PASSES, check_junit, gate_of, report
from parity.checks import CHECKS
from parity.faults.planting import SPECS
from parity.known_differences import load_known_differences
from parity.report.document import report_document
from parity.results import Comparison

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gate(tmp_path, run_script):
    return gate_of(tmp_path, run_script)


# What passes


def test_every_check_passed(gate):
    status, out, _ = gate(report())
    assert status == 0
    assert json.loads(out) == {
        "passed": True,
        "specs": ["tinynet_e"],
        "checks": len(CHECKS),
        "failures": [],
        "known": [],
        "stale": [],
    }


def test_a_known_difference_within_its_bound_passes_and_is_named(gate):
    status, out, _ = gate(report({"logits": (PASSES, FAILS)}), known=[ENTRY])
    found = json.loads(out)
    assert (status, found["failures"]) == (0, [])
    (known,) = found["known"]
    assert (known["check"], known["ids"]) == ("logits", ["exp"])


@pytest.mark.parametrize("how", ["skipped", "without"])
def test_a_check_that_is_listed_as_not_run_passes(how, gate):
    assert gate(report(**{how: ["onnx"]}), known=[GONE])[0] == 0


@pytest.mark.parametrize(
    ("bound", "status"),
    [({"noise": 30}, 0), ({"noise": 29}, 1), ({"error": 3e-6}, 0), ({"error": 2.9e-6}, 1)],
)
def test_a_bound_counts_noise_or_the_checks_own_unit(bound, status, gate):
    comparison = {"logits": (dataclasses.replace(FAILS, error=30 * FAILS.noise),)}
    assert gate(report(comparison), known=[{**ENTRY, "bound": bound}])[0] == status


def test_a_place_with_brackets_is_no_pattern(gate):
    failure = Comparison("layer table", "stages[1].repeats", 0.5, 0.0)
    entry = {**ENTRY, "check": "spec", "where": failure.where, "bound": {"error": 0.5}}
    assert gate(report({"spec": (failure,)}), known=[{**entry, "candidate": "*"}])[0] == 0


# What fails


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_must_have_passed(check, gate):
    for bad in (
        report({check: (PASSES, FAILS)}),
        report({check: ()}),
        report(skipped=[check]),
        report(without=[check]),
    ):
        status, out, _ = gate(bad)
        (failure,) = json.loads(out)["failures"]
        assert (status, failure["check"]) == (1, check)


def test_an_error_without_a_number_is_never_excused(gate):
    lost = dataclasses.replace(FAILS, error=float("inf"), kind="missing")
    assert gate(report({"logits": (lost,)}), known=[ENTRY])[0] == 1


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"spec": "tinynet_d"},
        {"check": "loss"},
        {"where": "classifier.*"},
        {"candidate": "mindspore pynative"},
        {"bound": {"noise": 29}},
        {"bound": "not run", "where": "*", "candidate": "*"},
    ],
    ids=str,
)
def test_an_entry_excuses_nothing_elsewhere(elsewhere, gate):
    assert gate(report({"logits": (FAILS,)}), known=[{**ENTRY, **elsewhere}])[0] == 1


def test_one_failure_that_is_not_excused_is_enough(gate):
    comparison = {"logits": (FAILS, dataclasses.replace(FAILS, where="conv_head"))}
    status, out, _ = gate(report(comparison), known=[ENTRY])
    assert status == 1
    assert json.loads(out)["failures"][0]["message"].startswith("conv_head (mindspore graph)")


@pytest.mark.parametrize("entry", [ENTRY, GONE], ids=["difference", "not run"])
def test_an_entry_that_matches_nothing_fails(entry, gate):
    status, out, _ = gate(report(), known=[entry])
    found = json.loads(out)
    assert (status, found["stale"], found["failures"]) == (1, ["exp"], [])


def test_each_report_must_have_every_check(gate):
    # Of another device, say: what one of them proves the other does not.
    status, out, _ = gate(report(), report(without=["onnx"]))
    assert (status, len(json.loads(out)["failures"])) == (1, 1)


def test_what_to_look_at_comes_first(gate):
    bad = report({"layers-chained": (PASSES, FAILS)}, skipped=["onnx"])
    entry = {**ENTRY, "check": "layers-chained", "bound": {"noise": 29}}
    _, out, _ = gate(bad, known=[entry, {**GONE, "id": "old", "check": "resume"}], options=())
    lines = [line.strip() for line in out.splitlines() if line]
    assert lines == [
        f"FAILED  1 reports, {len(CHECKS)} checks: {len(CHECKS) - 2} passed, 2 failed; "
        "1 known differences match nothing",
        "look first at tinynet_e, check layers-chained",
        "Each layer within the whole net; in relative rms error",
        "classifier (mindspore graph): value, error 3e-06 (30x noise), bound 2e-06 (20x noise), "
        "would pass at 3e-06 (30x noise) instead of 2e-06 (20x noise)",
        "the known difference exp excuses up to 29 times the noise",
        "again: tinynet parity --spec tinynet_e --checks layers-chained",
        "failed",
        "tinynet_e  layers-chained  classifier (mindspore graph): 3e-06 (30x noise), "
        "bound 2e-06 (20x noise)",
        "tinynet_e  onnx  not run: no onnx here",
        "known differences that match nothing: remove them, or correct them",
        "old  tinynet_e, check resume, * (*)",
    ]


# What was written in the words of version 1


def in_version_1(document):
    """A report as version 1 wrote it: rungs, and in what was compared for them subjects."""
    text = json.dumps({**document, "report_version": 1})
    return json.loads(
        text.replace('"checks":', '"rungs":')
        .replace('"candidate":', '"subject":')
        .replace('"check":', '"rung":')
    )


def test_a_report_of_version_1_is_decided_on(gate):
    passing = in_version_1(report_document(report()))
    assert {"rungs", "report_version"} <= passing.keys()
    assert gate(passing)[0] == 0
    status, out, _ = gate(in_version_1(report_document(report({"logits": (PASSES, FAILS)}))))
    (failure,) = json.loads(out)["failures"]
    assert (status, failure["check"]) == (1, "logits")
    assert failure["message"].startswith("classifier (mindspore graph): 3e-06")


def test_a_report_of_version_1_without_checks_is_status_2(gate):
    document = in_version_1(report_document(report()))
    del document["rungs"]
    status, _, err = gate(document)
    assert (status, 'the key "checks" is missing' in err) == (2, True)


def test_known_differences_of_version_1_excuse_the_same(gate):
    former = {"check": "rung", "candidate": "subject"}
    entry, gone = (
        {former.get(key, key): value for key, value in each.items()} for each in (ENTRY, GONE)
    )
    gone["bound"] = "not climbed"
    found = report({"logits": (PASSES, FAILS)}, skipped=["onnx"])
    assert gate(found)[0] == 1
    assert gate(found, known=[entry, {**gone, "id": "gone"}])[0] == 0


# What cannot be decided


def broken(**fields):
    return {**report_document(report()), **fields}


def with_check(**fields):
    document = report_document(report())
    document["checks"][5] |= fields
    return document


FAILURE = report_document(report({"spec": (FAILS,)}))["checks"][0]["worst"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, 'the key "report_version" is missing, expected 2, that of the reports'),
        (broken(report_version=0), "report_version is 0, expected 2, that of the reports"),
        (broken(checks=[]), "checks is [], expected at least one check"),
        (broken(checks=broken()["checks"] * 2), "checks has spec 2 times, expected once"),
        (broken(passed=False), "passed is False, expected True, as the numbers under it say"),
        (with_check(passed=False), "checks[5].passed is False, expected True"),
        (with_check(failed=1), "checks[5].failed is 1, expected 0"),
        (with_check(failures=[FAILURE]), "checks[5].failed is 0, expected 1"),
        (with_check(worst=FAILURE), "checks[5].failed is 0, expected 1"),
        (with_check(compared=0), "checks[5].compared > 0 is False, expected True"),
        (with_check(worst=None), "checks[5].passed is True, expected False"),
        (with_check(skipped="no time"), "checks[5].compared > 0 is True, expected False"),
        (with_check(name="logic"), "has a check logic, expected some of spec, parameters"),
        (broken(spec="tinynet_d"), "no report is about tinynet_e"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_report_that_cannot_be_decided_is_status_2(document, message, gate):
    status, out, err = gate(document)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rung": "logits"},
            'unknown key "rung" in difference[0], expected one of id, spec, check',
        ),
        ({"why": "?"}, 'unknown key "why" in difference[0], expected one of id, spec, check'),
        *(({key: None}, f'the key "{key}" is missing in difference[0]') for key in ENTRY),
        ({"check": "logic"}, "difference[0].check is 'logic', expected one of spec, parameters"),
        ({"id": "two words"}, 'difference[0].id is "two words", expected a name without spaces'),
        ({"reason": ""}, 'difference[0].reason is "", expected a text'),
        ({"link": "ask me"}, 'difference[0].link is "ask me", expected an address'),
        ({"bound": {"noise": 0}}, 'difference[0].bound is {"noise": 0}, expected { noise = N }'),
        ({"bound": {"noise": float("inf")}}, "Infinity is not a JSON number"),
        ({"bound": {"noise": 2, "error": 1}}, "difference[0].bound is {"),
        ({"bound": 7}, "difference[0].bound is 7, expected { noise = N }"),
        ({"bound": "not run"}, "difference[0].where is 'classifier', expected \"*\""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_entry_that_is_not_one_is_status_2(changes, message, gate):
    entry = {key: value for key, value in {**ENTRY, **changes}.items() if value is not None}
    status, out, err = gate(report(), known=[entry])
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_duplicate_id_is_status_2(gate):
    status, _, err = gate(report({"logits": (FAILS,)}), known=[ENTRY, ENTRY])
    assert status == 2
    assert "the id exp stands 2 times, expected 1" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "a.json"], "--from without --specs"),
        (["--specs", "", "--from", "a.json"], "no such spec"),
        (["--specs", "nobody"], "nobody: no such spec"),
        (["--specs", "tinynet_e", "--from", "no.json"], "no.json: cannot be read"),
        (["--specs", "tinynet_e", "--known", "no.toml"], "no.toml: cannot be read"),
        (["--specs", "tinynet_e", "--modes", "fast"], "modes are fast"),
        (["--specs", "tinynet_e", "--jobs", "0"], "--jobs is 0, expected a number from 1"),
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_one_line_and_status_2(arguments, message, run_script):
    status, out, err = run_script("parity", "gate", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


# Where no framework is

WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "mindspore", "onnx", "onnxruntime", "skimage"):
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
sys.path.insert(0, "scripts")
runpy.run_path("scripts/parity.py", run_name="__main__")
"""


def test_reports_are_decided_on_where_no_framework_is(tmp_path):
    path = tmp_path / "parity.json"
    path.write_text(json.dumps(report_document(report())))
    words = ["parity.py", "gate", "--specs", "tinynet_e", "--from", path]
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (0, "")


# Running


def test_the_gate_runs_every_check_by_itself(tmp_path, run_script):
    path, reports, junit = tmp_path / "small.json", tmp_path / "reports", tmp_path / "junit.xml"
    path.write_text(format_spec(SPECS["small"]))
    options = ("--modes", "pynative", "--report", reports, "--junit", junit)
    status, out, _ = run_script("parity", "gate", "--specs", path, *options)
    assert status == 0, out
    assert (
        out.splitlines()[-1]
        == f"PASSED  1 reports, {len(CHECKS)} checks: {len(CHECKS)} passed, 0 failed"
    )
    (suite,) = check_junit(junit)
    assert [case.get("name") for case in suite.iter("testcase")] == list(CHECKS)
    # And what it wrote can be decided on again.
    written = reports / "small" / "parity.json"
    assert run_script("parity", "gate", "--specs", path, "--from", written)[0] == 0
    command = json.loads(written.read_text())["command"]
    assert command.endswith(
        f"parity.py --spec {path} --framework mindspore --modes pynative "
        "--device cpu --precision float32"
    )


# The lists there are


def test_the_list_of_this_project_is_one():
    load_known_differences(ROOT / "parity" / "known_differences.toml", CHECKS)


def test_the_list_that_the_docs_show_is_one(tmp_path):
    page = (ROOT / "docs" / "ci.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "known.toml").write_text(shown[1])
    in_bounds, not_run = load_known_differences(tmp_path / "known.toml", CHECKS)
    assert (in_bounds.unit, in_bounds.bound) == ("noise", 12.0)
    assert not_run.is_about_check("my_net", "trajectory")
