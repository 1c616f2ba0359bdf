"""JUnit XML, as CI systems read it."""

import dataclasses

from tinynet.spec import format_spec

from gates import ENTRY, FAILS, check_junit, gate_of, report
from parity.checks import CHECKS
from parity.faults.planting import SPECS


def test_junit_of_a_gate(tmp_path, run_script):
    gate = gate_of(tmp_path, run_script)
    junit = tmp_path / "junit.xml"
    noisy = dataclasses.replace(FAILS, note="\x1b[31m<broken> & torn\x00")
    comparison = {"layers-chained": (FAILS,), "logits": (noisy,)}
    known = [{**ENTRY, "check": "layers-chained"}, {**ENTRY, "id": "old", "check": "loss"}]
    gate(report(comparison, skipped=["onnx"]), known=known, options=("--junit", junit))
    suite, stale = check_junit(junit)
    assert {p.get("name"): p.get("value") for p in suite.iter("property")}["torch"] == "2.13.0"
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == list(CHECKS)
    assert cases["loss"].find("*") is None
    assert cases["layers-chained"].find("skipped").get("message").startswith("known difference exp")
    assert cases["onnx"].find("failure").get("message") == "not run: no onnx here"
    failure = cases["logits"].find("failure")
    assert (
        failure.get("message") == "classifier (mindspore graph): 3e-06 (30x noise), bound "
        "2e-06 (20x noise)"
    )
    assert "would pass at 3e-06 (30x noise)" in failure.text
    assert "(?[31m<broken> & torn?)" in failure.text
    assert "again: tinynet parity --spec tinynet_e --checks logits" in failure.text
    assert [case.get("name") for case in stale.iter("testcase")] == ["old"]


def test_junit_of_the_suite(tmp_path, run_script):
    path, junit = tmp_path / "small.json", tmp_path / "junit.xml"
    path.write_text(format_spec(SPECS["small"]))
    checks = ("--checks", "spec,parameters", "--modes", "pynative", "--json")
    status, _, _ = run_script("parity", "--spec", path, *checks, "--junit", junit)
    (suite,) = check_junit(junit)
    assert status == 0
    assert [case.get("name") for case in suite.iter("testcase")] == ["spec", "parameters"]
