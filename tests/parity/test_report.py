"""The report, from the outside in: what a person reads when twins agree and when they do not."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from parity.audit.formulas import Pattern
from parity.audit.results import Audit, Row, save_audit
from parity.known_differences import NOT_RUN, KnownDifference
from parity.recordings.compare import Difference
from parity.report.markup import serialise
from parity.report.operators import operators
from parity.report.page import Figure, differences, write_html
from parity.report.run_plot import run_plot
from parity.report.text import format_check, format_report
from parity.results import CheckResult, Comparison, Divergence, Report, Series

LAYERS = (
    "conv_stem",
    "bn1",
    "blocks.0.0.conv_dw",
    "blocks.0.0",
    "blocks.0.1",
    "conv_head",
    "classifier",
)
CANDIDATES = ("mindspore pynative", "mindspore graph")
VOID = {"meta", "img", "line", "rect", "path", "circle", "br", "link"}
CHECKS = (
    "spec",
    "parameters",
    "pixels",
    "layers-isolated",
    "layers-chained",
    "logits",
    "loss",
    "gradients-isolated",
    "gradients-chained",
    "statistics",
    "schedule",
    "optimizer",
    "ema",
    "trajectory",
    "metrics",
    "onnx",
    "checkpoints",
    "resume",
)


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


def layer_check(name="layers-chained"):
    comparisons = [
        Comparison(candidate, layer, error=2e-7 * (1 + index), bound=6e-6, noise=2e-7)
        for candidate in CANDIDATES
        for index, layer in enumerate(LAYERS)
    ]
    reason = "errors of all layers before add up"
    return CheckResult(name, "Each layer", "relative rms error", reason, tuple(comparisons), 1.5)


def gradient_check(name, error=1e-7):
    """Gradients the way they flow, of a block with more tensors and one with fewer."""
    places = ["classifier.bias", "classifier.weight", "blocks.1.0.bn1.bias"]
    places += ["blocks.1.0.bn1.weight", "blocks.1.0.conv_pw.weight", "blocks.0.0.conv_dw.weight"]
    places += ["conv_stem.weight"]
    if name == "gradients-isolated":
        places[2:2] = ["classifier input"]
    else:
        places += ["input"]
    comparisons = [
        Comparison(candidate, place, error, bound=8e-7, noise=1e-7)
        for candidate in CANDIDATES
        for place in places
    ]
    return CheckResult(name, "Gradients", "relative rms error", "rounding", tuple(comparisons), 0.4)


def trajectory_check():
    losses = (2.5, 2.25, 2.0)
    series = [
        Series("float64 reference", losses),
        Series("PyTorch float32, sample 0", (2.5, 2.25 + 2e-7, 2.0 - 2e-7)),
        *(Series(candidate, (2.5, 2.25 + 1e-6, 2.0 + 2e-6)) for candidate in CANDIDATES),
    ]
    comparisons = [
        Comparison(candidate, f"loss of step {step}", error, bound=8e-6, noise=1e-6)
        for candidate in CANDIDATES
        for step, error in ((1, 0.0), (2, 1e-6 / 2.25), (3, 1e-6))
    ]
    comparisons += [
        Comparison(candidate, "weights", 1e-7, 8e-6, noise=1e-6) for candidate in CANDIDATES
    ]
    return CheckResult(
        "trajectory",
        "Training",
        "relative error",
        "envelope",
        tuple(comparisons),
        2.0,
        tuple(series),
    )


def metrics_check():
    comparisons = []
    for runtime in ("mindspore pynative", "ONNX Runtime"):
        comparisons += [
            Comparison(runtime, "coffee.png", 0.0, 0.0, note="says espresso"),
            Comparison(runtime, "top-1", 0.0, 1e-9),
            Comparison(runtime, "mean loss", 1e-7, 2e-6, noise=1e-7),
            Comparison(f"{runtime}, its loop", "best top-1", 0.0, 1e-9),
            Comparison(f"{runtime}, its loop", "mean loss of the average", 1e-7, 2e-6, noise=1e-7),
        ]
    return CheckResult(
        "metrics", "Photographs", "1 if another", "no flips", tuple(comparisons), 0.3
    )


COMMAND = "python scripts/parity.py --spec tinynet_e --seed 7"


def plain_check(name):
    item = Comparison("mindspore graph", f"what {name} looks at", 0.0, 0.0, kind="bits")
    return CheckResult(
        name, f"About {name}", "share of numbers that differ", "a copy", (item,), 0.1
    )


def passing_report():
    logits = Comparison("mindspore graph", "classifier", 1.234e-6, 4e-5, noise=2e-6)
    made = {
        "layers-chained": layer_check(),
        "logits": CheckResult(
            "logits", "Logits", "relative rms error", "MindSpore's exp", (logits,), 0.2
        ),
        "gradients-isolated": gradient_check("gradients-isolated"),
        "gradients-chained": gradient_check("gradients-chained"),
        "trajectory": trajectory_check(),
        "metrics": metrics_check(),
    }
    checks = tuple(made.get(name) or plain_check(name) for name in CHECKS)
    return Report("tinynet_e", "made from seed 7", COMMAND, checks, {"torch": "9.9.0"}, 12.3)


def check_of(report, name):
    return next(check for check in report.checks if check.name == name)


def with_failures(report, name, *failures):
    """The report with a check whose comparisons at the failures' places are theirs instead."""
    places = {(item.candidate, item.where): item for item in failures}
    checks = [
        dataclasses.replace(
            check,
            comparisons=tuple(
                places.get((item.candidate, item.where), item) for item in check.comparisons
            ),
        )
        if check.name == name
        else check
        for check in report.checks
    ]
    return dataclasses.replace(report, checks=tuple(checks))


@pytest.fixture
def failing_report():
    return with_failures(
        passing_report(),
        "layers-chained",
        Comparison("mindspore pynative", "blocks.0.0", 0.00321, 6e-6, noise=2e-7),
        Comparison(
            "mindspore pynative",
            "classifier",
            math.inf,
            6e-6,
            2e-7,
            "shape",
            "shape (2, 10), expected (2, 1000)",
        ),
    )


SCRIPT = """\
# a < b & c > d </code></pre><script>alert(1)</script>
print("difference")
"""


@pytest.fixture
def traced_report(failing_report):
    divergence = Divergence(
        check="layers-chained",
        where="blocks.0.0.bn1",
        operation="batch norm in evaluation mode",
        direction="forward",
        framework="mindspore",
        file="mindspore_impl/blocks.py",
        definition="batch_norm",
        error=0.00117,
        noise=6e-8,
        bound=2.4e-7,
        explanation="It computes what an eps of 0.001 would give.",
        script=SCRIPT,
    )
    return dataclasses.replace(failing_report, divergence=divergence)


LINK = "https://example.org/issues/17"


def known_difference(where, noise):
    return KnownDifference(
        "lite0-kinks",
        "tinynet_*",
        "layers-chained",
        where,
        "mindspore *",
        "noise",
        noise,
        "ReLU6 has <kinks>",
        LINK,
    )


def page_of(report, folder, known=()):
    path = write_html(report, folder / "made" / "here", known=known)
    assert path.name == "parity.html"
    beside = ["reproduce.py"] if report.divergence else []
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "parity.html",
        "parity.json",
        *beside,
    ]
    return Page(path.read_text(encoding="utf-8"))


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


def test_every_check_stands_in_the_table_with_its_reason(tmp_path):
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


def test_a_known_difference_is_told_where_it_excuses(failing_report, tmp_path):
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


def test_a_known_difference_is_told_where_a_check_is_not_run(tmp_path):
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


def test_a_figure_stands_in_front_of_the_checks(failing_report, tmp_path):
    truth = Series("one", (3.0, 2.0, 1.0))
    drawing = run_plot("Runs", truth, [Series("other", (2.0, 1.5), first=2)])
    figure = Figure("Two runs", "One & the other.", drawing)
    page = Page(write_html(failing_report, tmp_path, [figure]).read_text(encoding="utf-8"))
    assert page.text.index("Two runs One & the other.") < page.text.index("The checks")


def test_what_differs_between_two_recordings_stands_in_front(failing_report, tmp_path):
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
        # What a reader may follow is no part of the page.
        loads = {"src", "srcset", "xlink:href"} | ({"href"} if tag != "a" else set())
        assert not loads & set(attributes)
    assert not re.search(r"url\(|@import|fetch\(", html)
    assert set(re.findall(r"https?:[^\"<]*", html)) <= {LINK}


def drawn(report, check, tmp_path):
    """The page of a single check."""
    return page_of(dataclasses.replace(report, checks=(check_of(report, check),)), tmp_path)


def test_plot_has_one_mark_per_layer_per_candidate_between_noise_and_bound(tmp_path):
    page = drawn(passing_report(), "layers-chained", tmp_path)
    marks = [mark for mark in page.of_class("mark") if "transform" in mark]
    assert len(page.of_class("spot")) == len(LAYERS)
    assert len(marks) == len(LAYERS) * len(CANDIDATES)
    lines = [attrs for attrs in page.of_class("bound") if attrs["d"] != "M0,6H18"]
    assert len(lines) == 1
    for candidate in CANDIDATES:
        assert f"{candidate}: 4e-07 (2x noise), bound 30x" in page.text


def test_plot_marks_failures_and_what_has_no_size(failing_report, tmp_path):
    page = drawn(failing_report, "layers-chained", tmp_path)
    failed = [set(mark["class"].split()) for mark in page.of_class("failed") if "d" in mark]
    assert len(failed) == 2
    assert sum("cross" in classes for classes in failed) == 1


@pytest.mark.parametrize("error", [0.0, 1e-30, 1e30, math.inf, math.nan])
def test_any_error_has_a_place_in_the_plot(error, tmp_path):
    item = Comparison(CANDIDATES[0], "bn1", error, 1e-6, noise=1e-7)
    report = with_failures(passing_report(), "layers-chained", item)
    page = drawn(report, "layers-chained", tmp_path)
    heights = [
        float(mark["transform"].partition(",")[2].rstrip(")"))
        for mark in page.of_class("mark")
        if "transform" in mark
    ]
    assert len(heights) == len(LAYERS) * len(CANDIDATES)
    assert all(0 <= height <= 300 for height in heights)
    if not math.isfinite(error):
        assert min(heights) == 14.0  # at the ceiling, far above its bound


def cells_of(page):
    return [attrs for tag, attrs in page.tags if tag == "td" and "title" in attrs]


def gradients(*checks):
    return dataclasses.replace(passing_report(), checks=checks)


def test_heat_map_has_a_cell_for_every_comparison(tmp_path):
    checks = [gradient_check(name) for name in ("gradients-isolated", "gradients-chained")]
    page = page_of(gradients(*checks), tmp_path)
    told = [cell["title"].splitlines() for cell in cells_of(page)]
    assert sorted(
        (where, candidate.partition(":")[0], check) for where, _, candidate, check, _ in told
    ) == sorted(
        (item.where, item.candidate, check.name) for check in checks for item in check.comparisons
    )
    # The block with the most tensors comes in its own order, and the input's row is the stem's.
    heads = "layer mindspore pynative gradients-isolated mindspore pynative gradients-chained "
    assert heads in page.text
    assert "conv_stem blocks.0.0 blocks.1.0 classifier" in page.text
    assert len(page.of_class("over")) == 1  # in the legend
    assert len(page.of_class("chosen")) == 1


@pytest.mark.parametrize(
    ("error", "shade"),
    [
        (0.0, "h0"),
        (2e-8, "h0"),
        (4e-8, "h1"),
        (9e-8, "h2"),
        (1.9e-7, "h3"),
        (3.9e-7, "h4"),
        (8e-7, "h5"),
        (8.1e-7, "over"),
        (math.inf, "over"),
        (math.nan, "over"),
    ],
)
def test_heat_map_shades_shares_of_the_bound(error, shade, tmp_path):
    page = page_of(gradients(gradient_check("gradients-chained", error)), tmp_path)
    cells = cells_of(page)
    assert len(cells) == 16
    assert all(shade in cell["class"].split() for cell in cells)
    # Not by colour alone; one sign stands in the legend.
    assert page.words.count("!") == 1 + (shade == "over") * len(cells)


def test_trajectories_are_drawn_over_each_other_and_held_to_bounds(tmp_path):
    page = drawn(passing_report(), "trajectory", tmp_path)
    curves = [attrs for attrs in page.of_class("curve") if attrs["d"] != "M0,6H18"]
    assert [attrs["d"].count(",") for attrs in curves] == [3, 3, 3]
    assert len(page.of_class("spot")) == 3
    marks = [mark for mark in page.of_class("mark") if "transform" in mark]
    assert len(marks) == 2 * len(CANDIDATES)  # where nothing differs there is none
    assert sum(tag == "circle" for tag, _ in page.tags) == 2
    (bound,) = [attrs for attrs in page.of_class("bound") if attrs["d"] != "M0,6H18"]
    (noise,) = [attrs for tag, attrs in page.tags if tag == "path" and attrs["class"] == "noise"]
    top = [float(line["d"].split(",")[1].partition("H")[0]) for line in (bound, noise)]
    assert top[0] < min(float(mark["transform"].partition(",")[2][:-1]) for mark in marks)
    assert top[0] < top[1]
    assert (
        "step 3 float64 reference: 2 mindspore pynative: 2.000002, 1e-06 away (1x noise), bound 8x"
        in page.text
    )


def test_a_loss_beyond_its_bound_is_marked_and_told_first(tmp_path):
    item = Comparison(CANDIDATES[1], "loss of step 2", 1e-3, bound=8e-6, noise=1e-6)
    page = drawn(with_failures(passing_report(), "trajectory", item), "trajectory", tmp_path)
    assert len([mark for mark in page.of_class("failed") if "transform" in mark]) == 1
    assert page.text.count("step 2 float64 reference") == 2  # at its place, and below the drawing


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0, 1e30])
def test_any_loss_can_be_drawn(loss):
    truth = Series("one", (3.0, loss, 1.0))
    drawing = run_plot("Runs", truth, [Series("other", (3.0, 2.0, loss))])
    numbers = [mark.get("transform") for mark in drawing.iter("path") if mark.get("transform")]
    assert numbers
    assert not any("nan" in text or "inf" in text for text in numbers)
    for curve in drawing.iter("path"):
        assert "nan" not in curve.get("d")


def test_the_checks_shows_how_many_came_how_near(tmp_path):
    severities = (0.0, 1e-9, 0.02, 0.9, 0.9, 1.0, 2.0, 1e9, math.inf)
    comparison = tuple(
        Comparison("graph", str(index), severity, 1.0, 0.1)
        for index, severity in enumerate(severities)
    )
    check = dataclasses.replace(layer_check("ema"), comparisons=comparison)
    page = page_of(dataclasses.replace(passing_report(), checks=(check,)), tmp_path)
    bars = [
        (attrs["class"] == "fill", (float(attrs["x"]) - 1) / 9, float(attrs["height"]))
        for attrs in page.of_class("fill")
    ]
    # Half decades from a thousandth to a thousand times the bound, which is between 5 and 6.
    assert [bar[:2] for bar in bars] == [(True, 0), (True, 2), (True, 5), (False, 6), (False, 11)]
    assert max(bars, key=lambda bar: bar[2]) == (True, 5, 26.0)
    assert "6 within their bounds, 3 beyond" in page.text


def store_audit(folder, framework="mindspore", version="2.10.0", device="cpu"):
    rows = (
        Row("sigmoid", "y", 74.9, "x (2, 3), element (0, 1)", 44.0, 30),
        Row("sigmoid", "dx", math.inf, "x (1, 1), element (0, 0)", 43.8, 30),
        Row("batch norm", "y", 2.5, "x (2, 3), element (0, 0)", 1.0, 30),
        Row("batch norm", "running_mean", 5.5, "x (9, 3), element (2,)", 1.0, 30),
    )
    halves = Pattern("whole blocks", 8, {"eps outside the root": "0-7", "inside": "8"})
    made = Audit(
        framework,
        version,
        device,
        "a machine",
        "the command",
        "2026-01-01",
        (1, 2),
        rows,
        {"stock RMSProp": halves},
    )
    save_audit(made, folder)


def operators_of(environment, folder):
    return Page(serialise(list(operators(environment, folder))))


def test_operators_show_the_stored_audits_of_the_versions_there_are(tmp_path):
    store_audit(tmp_path)
    store_audit(tmp_path, version="2.9.0")
    store_audit(tmp_path, "torch", "2.13.0")
    page = operators_of({"mindspore": "2.10.0", "torch": "2.13.0+cpu"}, tmp_path)
    both = "MindSpore 2.10.0, cpu PyTorch 2.13.0, cpu forward backward forward backward"
    assert f"operator {both} sigmoid 74.9 inf 74.9 inf batch norm 5.5 5.5" in page.text
    assert "2.9.0" not in page.text
    pattern = "in whole blocks of 8: eps outside the root; behind them: inside"
    assert f"stock RMSProp {pattern} {pattern}" in page.text
    told = [cell["title"] for cell in cells_of(page)]
    assert "batch norm\nMindSpore 2.10.0, cpu\nrunning_mean: 5.5 at x (9, 3), element (2,)" in told
    # Folded, each of them has all that was measured.
    assert page.text.count("All of") == 2
    assert page.text.count("batch norm y 2.5 1 30 x (2, 3), element (0, 0)") == 2


def test_operators_without_an_audit_say_how_to_make_it(tmp_path):
    store_audit(tmp_path, version="2.9.0")
    page = operators_of({"mindspore": "2.10.0", "torch": "not installed"}, tmp_path)
    assert "No audit of MindSpore 2.10.0 is stored." in page.text
    assert "python scripts/parity.py audit --framework mindspore" in page.text
    assert "PyTorch" not in page.text
    assert cells_of(page) == []
    assert operators_of({"python": "3.11"}, tmp_path).tags == []


def test_operators_of_two_machines_are_both_shown(tmp_path):
    store_audit(tmp_path)
    store_audit(tmp_path, version="2.9.0")
    environment = {"mindspore": "2.10.0 | 2.9.0", "torch": "not installed | 2.13.0+cu130"}
    text = operators_of(environment, tmp_path).text
    assert "MindSpore 2.10.0, cpu MindSpore 2.9.0, cpu forward backward" in text
    assert "No audit of PyTorch 2.13.0 is stored." in text


def test_photographs_and_scores_stand_apart(tmp_path):
    wrong = Comparison("ONNX Runtime", "top-1", 14.3, 1e-9, note="is 28.57 %, expected 42.86 %")
    page = drawn(with_failures(passing_report(), "metrics", wrong), "metrics", tmp_path)
    assert "Photograph mindspore pynative ONNX Runtime coffee.png espresso espresso" in page.text
    assert "top-1 as expected is 28.57 %, expected 42.86 %" in page.text
    assert "best top-1" not in page.text  # those who answered photographs
    for where in ("ONNX Runtime mean loss", "ONNX Runtime, its loop mean loss of the average"):
        assert f"ok metrics {where}" in page.text
    assert page.of_class("plot") == []  # so few places are a table


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
