"""The report, from the outside in: what a person reads when twins agree and when they do not."""

import dataclasses
import json
import math
import re
import subprocess
import sys

import pytest

import reports
from parity.known_differences import NOT_RUN
from parity.recordings.compare import Difference
from parity.report.page import Figure, differences, write_html
from parity.report.run_plot import run_plot
from parity.report.text import format_check, format_report
from parity.results import Comparison, Report, Series
from reports import (
    CANDIDATES,
    LINK,
    SCRIPT,
    Page,
    check_of,
    known_difference,
    layer_check,
    page_of,
    passing_report,
    plain_check,
    with_failures,
)


@pytest.fixture
def failing_report():
    return reports.failing_report()


@pytest.fixture
def traced_report():
    return reports.traced_report()


def test_progress_of_a_passing_check():
    line = format_check(layer_check())
    assert line.split()[:3] == ["ok", "layers-chained", "14"]
    assert "worst 7x noise (bound 30x): classifier (mindspore pynative)" in line
    assert "1.5 s" in line


def test_progress_of_a_failing_check(failing_report):
    line = format_check(check_of(failing_report, "layers-chained"))
    assert line.startswith("FAIL  layers-chained")
    assert "worst shape: classifier (mindspore pynative)" in line


def test_progress_of_identical_bits():
    assert format_check(passing_report().checks[0]).endswith("no difference")


def test_a_check_that_compared_nothing_says_so(tmp_path):
    empty = dataclasses.replace(layer_check("onnx"), comparisons=())
    report = dataclasses.replace(passing_report(), checks=(empty,))
    assert "nothing was compared" in format_check(empty)
    assert "FAILED" in format_report(report)
    assert "onnx : nothing compared" in page_of(report, tmp_path).text


def test_text_of_a_passing_report():
    text = format_report(passing_report())
    assert "PASSED  tinynet_e, weights made from seed 7: 18 of 18 checks passed, " in text
    assert "divergence" not in text


def test_text_of_a_failing_report_says_where_and_what_would_have_passed(failing_report):
    text = format_report(failing_report)
    assert "FAILED  tinynet_e" in text
    assert "first divergence: blocks.0.0 (mindspore pynative), check layers-chained" in text
    assert "0.00321 (16,050x noise) instead of 6e-06 (30x noise)" in text
    assert "layers-chained: 2 of 14 comparisons failed" in text
    assert "shape (2, 10), expected (2, 1000)" in text
    assert "smallest bound that passes all: none (shape)" in text
    assert "--spec tinynet_e --seed 7 --checks layers-chained" in text


def test_text_of_many_failures_is_cut():
    noise = dataclasses.replace
    failures = [noise(item, error=1.0) for item in layer_check().comparisons]
    text = format_report(with_failures(passing_report(), "layers-chained", *failures))
    assert "and 4 more" in text
    assert "1 (5,000,000x noise) instead of 6e-06 (30x noise)" in text


def test_where_only_identical_bits_pass_no_other_bound_is_offered():
    differing = Comparison("mindspore graph", "what pixels looks at", 0.25, 0.0, kind="bits")
    text = format_report(with_failures(passing_report(), "pixels", differing))
    assert "0.25, but only 0 is right here" in text


def test_given_weights_are_in_the_command_that_runs_it_again(failing_report):
    command = "python scripts/parity.py --weights 'my weights.pth'"
    report = dataclasses.replace(failing_report, weights="my weights.pth", command=command)
    assert f"{command} --checks layers-chained" in format_report(report)


def test_page_of_a_passing_report(tmp_path):
    page = page_of(passing_report(), tmp_path)
    assert page.text.index("PASSED") < page.text.index("The checks")
    for expected in (
        "18 of 18 checks passed",
        "errors of all layers before add up",
        "1.23e-06",
        "0.617x",
        "espresso",
        "9.9.0",
        "python scripts/parity.py --spec tinynet_e --seed 7",
    ):
        assert expected in page.text
    assert page.of_class("mark failed") == []
    assert "Look here first" not in page.text


def test_page_of_a_failing_report_has_the_numbers_of_the_failure(failing_report, tmp_path):
    page = page_of(failing_report, tmp_path)
    assert page.text.index("FAILED") < page.text.index("Look here first")
    assert page.text.index("Look here first") < page.text.index("The checks")
    for expected in (
        "blocks.0.0",
        "0.00321 (16,050x noise)",
        "6e-06 (30x noise)",
        "none (shape)",
        "shape (2, 10), expected (2, 1000)",
        "--checks layers-chained",
    ):
        assert expected in page.text


def test_every_check_is_in_the_table_with_its_reason(tmp_path):
    report = passing_report()
    text = page_of(report, tmp_path).text
    for check in report.checks:
        assert f"{check.name} {check.title} {len(check.comparisons)}" in text
        assert text.count(check.reason) >= 1


def test_a_skipped_check_is_neither_passed_nor_failed(tmp_path):
    reason = "no image has 7 channels to train on"
    checks = tuple(
        dataclasses.replace(check, comparisons=(), series=(), skipped=reason)
        if check.name == "trajectory"
        else check
        for check in passing_report().checks
    )
    report = dataclasses.replace(passing_report(), checks=checks)
    line = format_check(check_of(report, "trajectory"))
    assert line.split(maxsplit=2) == ["skip", "trajectory", reason]
    assert "PASSED  tinynet_e" in format_report(report)
    assert "17 of 17 checks passed, 1 skipped" in format_report(report)
    page = page_of(report, tmp_path)
    assert f"skipped trajectory Training 0 2.0 s {reason}" in page.text
    assert "Failures" not in page.text


def test_a_known_difference_is_shown_where_it_excuses(failing_report, tmp_path):
    excused = "value known difference lite0-kinks : ReLU6 has <kinks>"
    some = page_of(failing_report, tmp_path, [known_difference("blocks.*", noise=2e4)])
    assert excused in some.text
    assert some.text.count("lite0-kinks") == 1
    assert "which a gate lets pass" not in some.text
    beyond = page_of(failing_report, tmp_path, [known_difference("blocks.*", noise=1e4)])
    assert "lite0-kinks" not in beyond.text
    value = Comparison(CANDIDATES[0], "classifier", 1e-3, 6e-6, noise=2e-7)
    report = with_failures(failing_report, "layers-chained", value)
    both = page_of(report, tmp_path, [known_difference("*", noise=2e4)])
    assert both.text.count(excused) == 2
    assert "All that failed are known differences, which a gate lets pass." in both.text


def test_a_known_difference_is_shown_where_a_check_is_not_run(tmp_path):
    skipped = dataclasses.replace(layer_check(), comparisons=(), skipped="no photographs")
    report = dataclasses.replace(passing_report(), checks=(skipped, plain_check("ema")))
    known = dataclasses.replace(known_difference("*", 0), candidate="*", unit=NOT_RUN)
    text = page_of(report, tmp_path, [known]).text
    assert "no photographs known difference lite0-kinks : ReLU6 has <kinks>" in text


def test_a_traced_divergence_comes_first_with_its_script(traced_report, tmp_path):
    text = format_report(traced_report)
    for expected in (
        "first divergence: blocks.0.0.bn1, batch norm in evaluation mode, forward",
        "mindspore_impl/blocks.py: batch_norm",
        "0.00117 (19,500x noise)",
        "0.00117 (19,500x noise) instead of 2.4e-07 (4x noise)",
        "an eps of 0.001",
    ):
        assert expected in text
    page = page_of(traced_report, tmp_path)
    assert (tmp_path / "made" / "here" / "reproduce.py").read_text() == SCRIPT
    assert page.text.index("Look here first") < page.text.index("The checks")
    for expected in (
        "mindspore_impl/blocks.py: batch_norm",
        "batch norm in evaluation mode, forward",
        "0.00117 (19,500x noise) instead of 2.4e-07 (4x noise)",
        "reproduce.py",
    ):
        assert expected in page.text
    assert "".join(page.words).count(SCRIPT) == 1
    assert sum(tag == "script" for tag, _ in page.tags) == 1


def test_a_figure_comes_before_the_checks(failing_report, tmp_path):
    truth = Series("one", (3.0, 2.0, 1.0))
    drawing = run_plot("Runs", truth, [Series("other", (2.0, 1.5), first=2)])
    figure = Figure("Two runs", "One & the other.", drawing)
    page = Page(write_html(failing_report, tmp_path, [figure]).read_text(encoding="utf-8"))
    assert page.text.index("Two runs One & the other.") < page.text.index("The checks")


def test_what_differs_between_two_recordings_comes_first(failing_report, tmp_path):
    found = [
        Difference("ONEDNN_MAX_CPU_ISA", "AVX2", "<unset>", "may explain"),
        Difference("framework", "torch", "mindspore", "expected"),
    ]
    figures = differences(found, ("recordings/a", "recordings/b"))
    page = Page(write_html(failing_report, tmp_path, figures).read_text(encoding="utf-8"))
    table = "What recordings/a recordings/b Meaning ONEDNN_MAX_CPU_ISA AVX2 <unset> may explain"
    assert page.text.index(table) < page.text.index("Look here first")
    assert differences([], ("a", "b")) == []


def test_page_loads_nothing(failing_report, tmp_path):
    known = [known_difference("*", noise=2e4)]
    html = write_html(failing_report, tmp_path, known=known).read_text(encoding="utf-8")
    assert LINK in html
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in Page(html).tags}
    for tag, attributes in Page(html).tags:
        # Links that a reader may follow do not belong to the page.
        loads = {"src", "srcset", "xlink:href"} | ({"href"} if tag != "a" else set())
        assert not loads & set(attributes)
    assert not re.search(r"url\(|@import|fetch\(", html)
    assert set(re.findall(r"https?:[^\"<]*", html)) <= {LINK}


def test_a_check_that_broke_off_is_shown(tmp_path):
    broken = Comparison("", "?", math.inf, 0.0, kind="error", note="RuntimeError: no kernel")
    checks = (dataclasses.replace(layer_check(), comparisons=(broken,)),)
    report = dataclasses.replace(passing_report(), checks=checks)
    assert "RuntimeError: no kernel" in format_report(report)
    assert "RuntimeError: no kernel" in page_of(report, tmp_path).text


def test_text_is_escaped(tmp_path):
    hostile = "<script>alert('&amp;')</script>"
    item = Comparison(hostile, hostile, 1.0, 1e-6, noise=1e-7, note=hostile)
    check = dataclasses.replace(
        layer_check(), title=hostile, comparisons=(item, *layer_check().comparisons)
    )
    report = Report(hostile, hostile, hostile, (check,), {hostile: hostile}, 1.0)
    page = page_of(report, tmp_path)
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert page.text.count(hostile) > 8


def test_document_is_strict_json_in_which_no_size_is_null(failing_report, tmp_path):
    write_html(failing_report, tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "parity.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=refuse)
    assert document["passed"] is False
    assert document["first_divergence"]["where"] == "blocks.0.0"
    checks = {check["name"]: check for check in document["checks"]}
    assert [item["error"] for item in checks["layers-chained"]["failures"]] == [0.00321, None]
    assert checks["trajectory"]["series"][0] == {
        "label": "float64 reference",
        "values": [2.5, 2.25, 2.0],
        "first": 1,
    }


def test_importing_the_report_loads_no_framework():
    code = (
        "import sys, parity.report.page, parity.report.text; "
        "print({'torch', 'mindspore', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
