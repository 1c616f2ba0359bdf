"""Reports to show: one in which all passed, one with failures, one that is traced; and pages."""

import dataclasses
import math
from html.parser import HTMLParser

from parity.checks import CHECKS
from parity.known_differences import KnownDifference
from parity.report.page import write_html
from parity.results import CheckResult, Comparison, Divergence, Report, Series

LAYERS = [
    "conv_stem",
    "bn1",
    "blocks.0.0.conv_dw",
    "blocks.0.0",
    "blocks.0.1",
    "conv_head",
    "classifier",
]
CANDIDATES = ("mindspore pynative", "mindspore graph")
VOID = {"meta", "img", "line", "rect", "path", "circle", "br", "link"}


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


def failing_report():
    wrong = Comparison("mindspore pynative", "blocks.0.0", 0.00321, 6e-6, noise=2e-7)
    note = "shape (2, 10), expected (2, 1000)"
    shape = Comparison("mindspore pynative", "classifier", math.inf, 6e-6, 2e-7, "shape", note)
    return with_failures(passing_report(), "layers-chained", wrong, shape)


SCRIPT = """\
# a < b & c > d </code></pre><script>alert(1)</script>
print("difference")
"""


def traced_report():
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
    return dataclasses.replace(failing_report(), divergence=divergence)


LINK = "https://example.org/issues/17"


def known_difference(where, noise):
    what = ("tinynet_*", "layers-chained", where, "mindspore *", "noise", noise)
    return KnownDifference("lite0-kinks", *what, "ReLU6 has <kinks>", LINK)


def page_of(report, folder, known=()):
    path = write_html(report, folder / "made" / "here", known=known)
    assert path.name == "parity.html"
    beside = ["reproduce.py"] if report.divergence else []
    files = sorted(file.name for file in path.parent.iterdir())
    assert files == ["parity.html", "parity.json", *beside]
    return Page(path.read_text(encoding="utf-8"))


def drawn(report, check, tmp_path):
    """The page of a single check."""
    return page_of(dataclasses.replace(report, checks=(check_of(report, check),)), tmp_path)
