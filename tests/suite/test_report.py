"""The report, from the outside in: what a person reads when twins agree and when they do not."""

import base64
import dataclasses
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from parity.evidence import Evidence, Report, Rung
from parity.report import format_report, format_rung, write_html
from parity.report_page import Figure

LAYERS = ("conv_stem", "bn1", "blocks.0.0.conv_dw", "blocks.0.0", "conv_head", "classifier")
SUBJECTS = ("mindspore pynative", "mindspore graph")
VOID = {"meta", "img", "line", "rect", "path", "br", "link"}


class Page(HTMLParser):
    """Collects start tags with their attributes, and all text; refuses tags left open."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self._open = [], [], []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self._open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def of_class(self, name):
        return [attrs for _, attrs in self.tags if name in attrs.get("class", "").split()]


def layer_rung(name="layers-chained"):
    evidence = [
        Evidence(subject, layer, error=2e-7 * (1 + index), bound=6e-6, noise=2e-7)
        for subject in SUBJECTS
        for index, layer in enumerate(LAYERS)
    ]
    reason = "errors of all layers before add up"
    return Rung(name, "Each layer", "relative rms error", reason, tuple(evidence), 1.5)


COMMAND = "python scripts/parity.py --spec tinynet_e --seed 7"


def passing_report():
    pixels = Evidence("mindspore graph", "input of conv_stem", 0.0, 0.0, kind="bits")
    logits = Evidence("mindspore graph", "classifier", 1.234e-6, 4e-5, noise=2e-6)
    photograph = Evidence("ONNX Runtime", "coffee.png", 0.0, 0.0, note="says espresso")
    rungs = (
        Rung("pixels", "Same pixels", "share of numbers that differ", "a copy", (pixels,), 0.1),
        layer_rung(),
        Rung("logits", "Logits", "relative rms error", "MindSpore's exp", (logits,), 0.2),
        Rung("predictions", "Photographs", "1 if another", "no flips", (photograph,), 0.3),
    )
    return Report("tinynet_e", "made from seed 7", COMMAND, rungs, {"torch": "2.13.0"}, 12.3)


def with_failures(report, name, *failures):
    """The report with a rung whose evidence at the failures' places is theirs instead."""
    places = {(item.subject, item.where): item for item in failures}
    rungs = [
        dataclasses.replace(
            rung,
            evidence=tuple(places.get((item.subject, item.where), item) for item in rung.evidence),
        )
        if rung.name == name
        else rung
        for rung in report.rungs
    ]
    return dataclasses.replace(report, rungs=tuple(rungs))


@pytest.fixture
def failing_report():
    return with_failures(
        passing_report(),
        "layers-chained",
        Evidence("mindspore pynative", "blocks.0.0", 0.00321, 6e-6, noise=2e-7),
        Evidence(
            "mindspore pynative", "classifier", math.inf, 6e-6, 2e-7, "shape",
            "shape (2, 10), expected (2, 1000)",
        ),
    )  # fmt: skip


def page_of(report, folder):
    path = write_html(report, folder / "made" / "here")
    assert path.name == "parity.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["parity.html", "parity.json"]
    return Page(path.read_text(encoding="utf-8"))


def test_progress_of_a_passing_rung():
    line = format_rung(layer_rung())
    assert line.split()[:3] == ["ok", "layers-chained", "12"]
    assert "worst 6x noise (bound 30x): classifier (mindspore pynative)" in line
    assert "1.5 s" in line


def test_progress_of_a_failing_rung(failing_report):
    line = format_rung(failing_report.rungs[1])
    assert line.startswith("FAIL  layers-chained")
    assert "worst shape: classifier (mindspore pynative)" in line


def test_progress_of_identical_bits():
    assert format_rung(passing_report().rungs[0]).endswith("no difference")


def test_a_rung_that_compared_nothing_says_so(tmp_path):
    empty = dataclasses.replace(layer_rung("onnx"), evidence=())
    report = dataclasses.replace(passing_report(), rungs=(empty,))
    assert "nothing was compared" in format_rung(empty)
    assert "FAILED" in format_report(report)
    assert "Nothing was compared" in page_of(report, tmp_path).text


def test_text_of_a_passing_report():
    text = format_report(passing_report())
    assert "PASSED  tinynet_e, weights made from seed 7: 4 of 4 rungs passed, 15 comp" in text
    assert "divergence" not in text


def test_text_of_a_failing_report_says_where_and_what_would_have_passed(failing_report):
    text = format_report(failing_report)
    assert "FAILED  tinynet_e" in text
    assert "first divergence: blocks.0.0 (mindspore pynative), rung layers-chained" in text
    assert "0.00321 (16,050x noise) instead of 6e-06 (30x noise)" in text
    assert "layers-chained: 2 of 12 comparisons failed" in text
    assert "shape (2, 10), expected (2, 1000)" in text
    assert "smallest bound that passes all: none (shape)" in text
    assert "--spec tinynet_e --seed 7 --levels layers-chained" in text


def test_text_of_many_failures_is_cut():
    noise = dataclasses.replace
    failures = [noise(item, error=1.0) for item in layer_rung().evidence]
    text = format_report(with_failures(passing_report(), "layers-chained", *failures))
    assert "and 2 more" in text
    assert "1 (5,000,000x noise) instead of 6e-06 (30x noise)" in text


def test_where_only_identical_bits_pass_no_other_bound_is_offered():
    differing = Evidence("mindspore graph", "input of conv_stem", 0.25, 0.0, kind="bits")
    text = format_report(with_failures(passing_report(), "pixels", differing))
    assert "0.25, but only 0 is right here" in text


def test_given_weights_are_in_the_command_that_runs_it_again(failing_report):
    command = "python scripts/parity.py --weights 'my weights.pth'"
    report = dataclasses.replace(failing_report, weights="my weights.pth", command=command)
    assert f"{command} --levels layers-chained" in format_report(report)


def test_page_of_a_passing_report(tmp_path):
    page = page_of(passing_report(), tmp_path)
    assert page.text.index("PASSED") < page.text.index("The ladder")
    for expected in (
        "4 of 4 rungs passed", "errors of all layers before add up", "1.23e-06", "0.617x",
        "espresso", "2.13.0", "python scripts/parity.py --spec tinynet_e --seed 7",
    ):  # fmt: skip
        assert expected in page.text
    assert page.of_class("mark failed") == []
    assert "Look here first" not in page.text


def test_page_of_a_failing_report_has_the_numbers_of_the_failure(failing_report, tmp_path):
    page = page_of(failing_report, tmp_path)
    assert page.text.index("FAILED") < page.text.index("Look here first")
    assert page.text.index("Look here first") < page.text.index("The ladder")
    for expected in (
        "blocks.0.0", "0.00321 (16,050x noise)", "6e-06 (30x noise)", "none (shape)",
        "shape (2, 10), expected (2, 1000)", "--levels layers-chained",
    ):  # fmt: skip
        assert expected in page.text


def test_a_figure_stands_in_the_page_itself(failing_report, tmp_path):
    figure = Figure("Two runs", "One & the other.", "<svg xmlns='...'><text>ä</text></svg>")
    page = Page(write_html(failing_report, tmp_path, [figure]).read_text(encoding="utf-8"))
    assert "Two runs" in page.text
    assert "One & the other." in page.text
    ((_, image),) = [(tag, attributes) for tag, attributes in page.tags if tag == "img"]
    head, _, data = image["src"].partition(",")
    assert head == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == figure.svg


def test_page_loads_nothing(failing_report, tmp_path):
    html = write_html(failing_report, tmp_path).read_text(encoding="utf-8")
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in Page(html).tags}
    for _, attributes in Page(html).tags:
        assert not {"src", "href", "srcset", "xlink:href"} & set(attributes)
    assert not re.search(r"url\(|@import|https?:|fetch\(", html)


def test_plot_has_one_mark_per_layer_per_subject_between_noise_and_bound(tmp_path):
    page = page_of(passing_report(), tmp_path)
    columns = page.of_class("layer")
    drawn = [mark for mark in page.of_class("mark") if "transform" in mark]
    assert len(columns) == len(LAYERS)
    assert len(drawn) == len(LAYERS) * len(SUBJECTS)
    lines = [attrs for attrs in page.of_class("bound") if attrs["d"] != "M0,6H18"]
    assert len(lines) == 1
    for subject in SUBJECTS:
        assert f"{subject}: 4e-07 (2x noise), bound 30x" in page.text


def test_plot_marks_failures_and_what_has_no_size(failing_report, tmp_path):
    page = page_of(failing_report, tmp_path)
    failed = [set(mark["class"].split()) for mark in page.of_class("failed") if "d" in mark]
    assert len(failed) == 2
    assert sum("cross" in classes for classes in failed) == 1


@pytest.mark.parametrize("error", [0.0, 1e-30, 1e30, math.inf, math.nan])
def test_any_error_has_a_place_in_the_plot(error, tmp_path):
    item = Evidence(SUBJECTS[0], "bn1", error, 1e-6, noise=1e-7)
    page = page_of(with_failures(passing_report(), "layers-chained", item), tmp_path)
    heights = [
        float(mark["transform"].partition(",")[2].rstrip(")"))
        for mark in page.of_class("mark")
        if "transform" in mark
    ]
    assert len(heights) == len(LAYERS) * len(SUBJECTS)
    assert all(0 <= height <= 300 for height in heights)


def test_a_rung_that_broke_off_is_shown(tmp_path):
    broken = Evidence("", "?", math.inf, 0.0, kind="error", note="RuntimeError: no kernel")
    rungs = (dataclasses.replace(layer_rung(), evidence=(broken,)),)
    report = dataclasses.replace(passing_report(), rungs=rungs)
    assert "RuntimeError: no kernel" in format_report(report)
    assert "RuntimeError: no kernel" in page_of(report, tmp_path).text


def test_text_is_escaped(tmp_path):
    hostile = "<script>alert('&amp;')</script>"
    item = Evidence(hostile, hostile, 1.0, 1e-6, noise=1e-7, note=hostile)
    rung = dataclasses.replace(layer_rung(), title=hostile, evidence=(item, *layer_rung().evidence))
    report = Report(hostile, hostile, hostile, (rung,), {hostile: hostile}, 1.0)
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
    assert [item["error"] for item in document["rungs"][1]["failures"]] == [0.00321, None]


def test_importing_the_report_loads_no_framework():
    code = "import sys, parity.report; print({'torch', 'mindspore', 'onnx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
