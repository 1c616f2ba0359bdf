"""The numbers in docs/formula.md are what the commands beside them print."""

import re
import shutil
from pathlib import Path

import pytest

from tinynet.formula.compound import solve_phi
from tinynet.spec import SPEC_DIRECTORY, load_spec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/formula.md").read_text()


def rows(heading):
    section = re.split(rf"\n##+ {re.escape(heading)}\n", PAGE)[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return [[cell.strip("` ") for cell in row] for row in lines[2:]]


@pytest.mark.parametrize("words", [["--macs", "100M"], ["--leave-one-out"]])
def test_what_a_command_prints(words, run_script):
    assert f"```\n{run_script('derive', *words)[1]}```\n" in PAGE


def test_the_law(run_script):
    printed = run_script("derive", "--law")[1].splitlines()[1:]
    assert rows("The law does not hold here") == [line.split() for line in printed]


def test_the_giant_members():
    base = load_spec("efficientnet_b0")
    expected = []
    for name, millions in zip("1234", (200, 100, 50, 24), strict=True):
        spec = load_spec(SPEC_DIRECTORY / f"giant/efficientnet_b_minus_{name}.json")
        macs, twist = spec.expected.macs, spec.derivation.twist
        expected.append(
            [
                spec.name,
                f"{millions}M",
                f"{macs:,}",
                f"{abs(macs / millions / 1e6 - 1):.2%}",
                f"{solve_phi(base, millions * 10**6):g}",
                *(f"{x:g}" for x in (twist.resolution, twist.depth, twist.width)),
            ]
        )
    assert rows("The giant formula and its inverse") == expected


def test_budgets_that_are_not_met(run_script):
    for budget, nearest, off, below, above in rows("3. A width"):
        out = run_script("derive", "--macs", budget)[1]
        assert f"macs        {nearest} ({off} off the budget" in out
        assert f"reachable   {below} and {above} macs" in out


def test_what_the_search_found(run_script, tmp_path):
    folder = shutil.copytree(ROOT / "docs/search", tmp_path / "search")
    tables = [folder / name for name in ("table.csv", "frontier.json")]
    stored = [path.read_text() for path in tables]
    for path in tables:
        path.unlink()
    printed = run_script("search", "--output", folder, "--collect")[1]
    assert f"```\n{printed}```\n" in PAGE
    assert [path.read_text() for path in tables] == stored


def test_every_drawing_is_there_and_shown():
    shown = set(re.findall(r"\]\(figures/(\w+)\.svg\)", PAGE))
    assert shown == {path.stem for path in (ROOT / "docs/figures").iterdir()}
    assert "tinynet derive --figures docs/figures" in PAGE
    assert "tinynet search --output docs/search --collect --figures docs/figures" in PAGE
