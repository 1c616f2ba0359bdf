import json
import shutil

import pytest

from tinynet.formula.frontier import FRONTIER_DIRECTORY
from tinynet.net.complexity import count
from tinynet.net.twist import derive
from tinynet.spec import Twist, load_spec

PROMISED = {"name", "macs", "budget", "relative_error", "twist", "interval", "path"}
BASE = load_spec("efficientnet_b0")


@pytest.fixture
def answer(run_script):
    """Runs derive.py with --json and gives its object."""

    def ask(*arguments):
        status, out, err = run_script("derive", *arguments, "--json")
        assert (status, err, out.count("\n")) == (0, "", 1)
        return json.loads(out)

    return ask


# Specs


def test_a_budget_as_promised(answer, tmp_path):
    path = tmp_path / "mine.json"
    report = answer("--macs", "100M", "--output", path, "--name", "mine")
    assert set(report) >= PROMISED
    spec = load_spec(path)
    assert (report["name"], report["path"], report["budget"]) == ("mine", str(path), 100_000_000)
    assert report["macs"] == spec.expected.macs == count(spec).macs
    assert report["relative_error"] == pytest.approx(abs(spec.expected.macs / 1e8 - 1))
    twist = Twist(**report["twist"])
    assert derive(BASE, twist, "mine") == spec
    for name, (low, high) in report["interval"].items():
        assert low < getattr(twist, name) < high
    assert set(report["interval"]) == {"resolution", "depth"}
    assert report["curves"]["depth"]["kernel"] == "matern32"
    # By chance of the curves it is C, to the channel: close to it lies a point.
    assert spec.stages == load_spec("tinynet_c").stages
    assert spec.source.endswith("; frontier: released")


@pytest.mark.parametrize(
    ("text", "budget"), [("99536432", 99_536_432), ("0.1G", 10**8), ("100000k", 10**8)]
)
def test_ways_to_write_a_budget(text, budget, answer):
    assert answer("--macs", text)["budget"] == budget


def test_without_output_nothing_is_written(answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = answer("--macs", "60M")
    assert (report["name"], report["path"]) == ("efficientnet_b0-tiny-60M", None)
    assert list(tmp_path.iterdir()) == []


def test_a_budget_out_of_reach_and_one_beyond_the_points(run_script, answer):
    status, out, err = run_script("derive", "--macs", "180M")
    assert (status, err) == (0, "")
    assert "184,536,528 (2.52% off the budget of 180,000,000)" in out
    assert "reachable   173,595,328 and 184,536,528 macs" in out
    assert "moved       by -4 pixels" in out
    assert answer("--macs", "180M")["reachable"] == {"below": 173_595_328, "above": 184_536_528}
    assert answer("--macs", "20M")["extrapolated"] is True
    assert answer("--macs", "180M")["extrapolated"] is False
    assert "beyond      what was measured" in run_script("derive", "--macs", "20M")[1]


def test_the_tiny_formula_of_a_resnet(answer, tmp_path):
    report = answer("--base", "resnet50", "--macs", "1G", "--output", tmp_path / "net.json")
    spec, base = load_spec(tmp_path / "net.json"), load_spec("resnet50")
    assert spec.is_resnet
    assert report["relative_error"] <= 0.01
    assert count(spec).macs == report["macs"]
    assert spec.stem.out_channels == base.stem.out_channels
    assert derive(base, Twist(**report["twist"]), spec.name) == spec


def test_the_giant_formula_and_its_inverse(answer):
    found = answer("--macs", "200M", "--giant")
    assert found["phi"] == -1.203
    assert (found["macs"], found["interval"]) == (200_755_584, None)
    assert found["relative_error"] == pytest.approx(0.00378, abs=1e-5)
    forward = answer("--phi", "-1.203")
    assert forward["twist"] == found["twist"]
    assert (forward["budget"], forward["relative_error"]) == (None, None)


def test_a_twist_of_ones_own_and_one_whose_width_is_solved(answer):
    twist = {"resolution": 0.7, "depth": 0.9, "width": 0.6}
    options = [word for name, x in twist.items() for word in (f"--{name}", x)]
    found = answer(*options, "--base", "efficientnet_lite0")
    assert (found["twist"], found["base"]) == (twist, "efficientnet_lite0")
    assert found["name"] == "efficientnet_lite0-twist"
    solved = answer("--resolution", "0.825", "--depth", "0.85", "--macs", "99536432")
    assert solved["relative_error"] == 0
    assert solved["params"] == load_spec("tinynet_c").expected.params


def test_another_frontier_and_process(answer, tmp_path):
    shutil.copy(FRONTIER_DIRECTORY / "released.json", tmp_path / "mine.json")
    usual = answer("--macs", "150M")
    assert answer("--macs", "150M", "--frontier", tmp_path / "mine.json")["twist"] == usual["twist"]
    other = answer(
        "--macs", "150M", "--kernel", "matern52", "--length-scale", "2", "--noise", "0.1"
    )
    for curve in (other["curves"]["resolution"], other["curves"]["depth"]):
        assert [curve[key] for key in ("kernel", "length_scale", "noise")] == ["matern52", 2.0, 0.1]
    assert other["twist"] != usual["twist"]


# Reports


def test_leave_one_out(answer, run_script):
    rows = answer("--leave-one-out")["points"]
    assert [row["name"][-1] for row in rows] == list("edcba")
    status, out, _ = run_script("derive", "--leave-one-out")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [row["name"] for row in rows]
    assert f"{rows[0]['resolution']['value']:.4f}" in out


def test_the_law(answer, run_script):
    rows = answer("--law")["points"]
    assert rows[3]["name"] == "tinynet_c"
    assert rows[3]["law"] == pytest.approx(0.169, abs=5e-4)
    assert "tinynet_c" in run_script("derive", "--law")[1]


def test_figures(answer, tmp_path):
    pytest.importorskip("matplotlib")
    paths = answer("--figures", tmp_path / "figures")["figures"]
    assert [path.rpartition("/")[2] for path in paths] == [
        "law.svg",
        "front.svg",
        "curves.svg",
        "leave_one_out.svg",
        "budgets.svg",
    ]
    for path in paths:
        text = (tmp_path / path).read_text()
        assert text.rstrip().endswith("</svg>")
        assert "multiply-accumulates" in text or "predicted" in text


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--macs is missing, expected a budget such as 100M"),
        (["--giant"], "--macs is missing, expected a budget such as 100M"),
        (["--macs", "12Q"], "argument --macs: 12Q is not a number of macs, expected 100M or 1.5G"),
        (["--macs", "-3M"], "argument --macs: expected one argument"),
        (["--giant", "--phi", "1"], "--giant and --phi are two jobs, expected one of them"),
        (
            ["--phi", "-1", "--macs", "1M"],
            "--macs is given with --phi, which leaves nothing to solve",
        ),
        (
            ["--width", "0.5"],
            "--width is given, expected --resolution and --depth, with --width or --macs",
        ),
        (
            ["--resolution", "0.5", "--depth", "1"],
            "--macs is missing, expected a budget such as 100M",
        ),
        (["--depth", "0"], "argument --depth: 0 is not a multiplier, expected 0 to 64, above 0"),
        (
            ["--macs", "100M", "--output", "net"],
            "--output is net, expected the name of a .json file",
        ),
        (["--law", "--output", "net.json"], "--output is given with --law, which makes no spec"),
        (["--law", "--base", "tinynet_a"], "--base is given with --law, which makes no spec"),
        (["--fit", "--name", "net"], "--name is given with --fit, which makes no spec"),
        (
            ["--macs", "100M", "--giant", "--frontier", "mine.json"],
            "--frontier is given with --giant, which fits no curves",
        ),
        (["--phi", "-1", "--kernel", "rbf"], "--kernel is given with --phi, which fits no curves"),
        (
            ["--macs", "100M", "--resolution", "0.5", "--depth", "1", "--noise", "0.1"],
            "--noise is given with --resolution, which fits no curves",
        ),
        (
            ["--resolution", "1", "--depth", "1", "--width", "1", "--length-scale", "1"],
            "--length-scale is given with --resolution, which fits no curves",
        ),
        (["--law", "--kernel", "rbf"], "--kernel is given with --law, which fits no curves"),
    ],
)
def test_arguments_that_contradict(arguments, message, run_script):
    status, out, err = run_script("derive", *arguments)
    assert (status, out) == (2, "")
    assert err == f"error: {message} (--help tells more)\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--macs", "1M"], "the budget is 1,000,000 macs, expected one from 9,933,296 to "),
        (["--macs", "100M", "--base", "tinynet_z"], "tinynet_z: no such spec"),
        (["--macs", "100M", "--frontier", "none.json"], "none.json: cannot be read"),
        (["--macs", "100M", "--output", "no/where/net.json"], "no/where/net.json: the folder"),
        (["--macs", "100M", "--name", "a b"], 'a b: name is "a b", expected a name of letters'),
        (["--macs", "100M", "--noise", "-1"], "noise is -1, expected a number above 0"),
        (["--macs", "100M", "--kernel", "cubic"], 'kernel is "cubic", expected one of matern32'),
        (["--phi", "40"], "phi is 40, expected a number from -10 to 10"),
    ],
)
def test_mistakes_that_only_the_job_finds(arguments, message, run_script):
    status, out, err = run_script("derive", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_a_frontier_with_too_few_points(run_script, tmp_path):
    document = json.loads((FRONTIER_DIRECTORY / "released.json").read_text())
    document["points"] = document["points"][:2]
    path = tmp_path / "two.json"
    path.write_text(json.dumps(document))
    for job, least in ((["--macs", "100M"], 3), (["--leave-one-out"], 4)):
        status, _, err = run_script("derive", *job, "--frontier", path)
        assert status == 2
        assert err == f"error: {path}: points on the first front: 1, expected at least {least}\n"
