"""Reports and lists of known differences for the gate, and the shape of JUnit XML."""

import json
from xml.etree import ElementTree

from parity.checks import CHECKS
from parity.report.document import report_document
from parity.results import CheckResult, Comparison, Report

PASSES = Comparison("mindspore pynative", "bn1", 2e-7, 2e-6, 1e-7)
FAILS = Comparison("mindspore graph", "classifier", 3e-6, 2e-6, 1e-7)
ENTRY = {
    "id": "exp",
    "spec": "tinynet_e",
    "check": "logits",
    "where": "classifier",
    "candidate": "mindspore *",
    "bound": {"noise": 50},
    "reason": "exp is an approximation there",
    "link": "https://example.org/issues/7",
}
GONE = {**ENTRY, "check": "onnx", "where": "*", "candidate": "*", "bound": "not run"}


def report(comparisons=(), skipped=(), without=(), spec="tinynet_e"):
    """A report in which all passed but for what is given, by check."""
    comparisons = dict(comparisons)
    checks = []
    for name, definition in CHECKS.items():
        reason = f"no {name} here" if name in skipped else ""
        found = () if reason else comparisons.get(name, (PASSES,))
        checks.append(
            CheckResult(name, definition.title, definition.unit, "", found, 0.5, skipped=reason)
        )
    kept = tuple(check for check in checks if check.name not in without)
    return Report(spec, "made from seed 0", "", kept, {"torch": "2.13.0"}, 9.0)


def gate_of(tmp_path, run_script):
    """A function that decides on reports, or documents, with known differences.

    It gives status, output and errors.
    """

    def run(*reports, known=(), specs="tinynet_e", options=("--json",)):
        paths = [tmp_path / f"{index}.json" for index in range(len(reports))]
        for path, item in zip(paths, reports, strict=True):
            document = report_document(item) if isinstance(item, Report) else item
            path.write_text(json.dumps(document))
        listed = tmp_path / "known.toml"
        listed.write_text("\n".join(map(table, known)))
        arguments = ["--specs", specs, "--known", listed, *options, "--from", *paths]
        return run_script("parity", "gate", *arguments)

    return run


def table(entry):
    def value(item):
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in item.items()) + " }"
        return json.dumps(item) if isinstance(item, str) else str(item)

    return "\n".join(["[[difference]]", *(f"{k} = {value(v)}" for k, v in entry.items())])


CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase"},
    "properties": {"property"},
    "property": set(),
    "testcase": {"failure", "skipped"},
    "failure": set(),
    "skipped": set(),
}
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "failure": {"message", "type"},
    "skipped": {"message"},
}


def check_junit(path):
    """Holds a file against the shape that CI systems read, and gives its suites.

    Source: junit-10.xsd of Jenkins' xUnit plugin, as far as it is used here.
    """
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites"
    for element in root.iter():
        assert {child.tag for child in element} <= CHILDREN[element.tag]
        assert set(element.attrib) == ATTRIBUTES[element.tag]
    for element in (root, *root.iter("testsuite")):
        assert int(element.get("tests")) == len(list(element.iter("testcase"))) > 0
        assert int(element.get("failures")) == len(list(element.iter("failure")))
        assert int(element.get("skipped")) == len(list(element.iter("skipped")))
        float(element.get("time"))
    return list(root)
