"""The workflow of CI: what it runs exists, and what it trusts is pinned."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github/workflows/parity.yml").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def values(key):
    """Returns the values of a key in any place."""
    return [text.strip("\"' ") for text in re.findall(rf"^[ -]*{key}: *(.+)$", TEXT, re.MULTILINE)]


def test_its_lines_nest_by_two_spaces():
    # No parser of YAML is among the dependencies.
    depth = 0
    for line in TEXT.splitlines():
        assert "\t" not in line
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        assert re.match(r" *(- )?[\w-]+:( |$)", line), line
        indent = len(line) - len(line.lstrip(" "))
        assert indent % 2 == 0
        assert indent <= depth + 2, line
        # After a dash the keys of an item are as deep as its first one.
        depth = indent + 2 * line.lstrip().startswith("- ")


def test_its_jobs_are_whole():
    jobs = re.findall(r"^  ([\w-]+):\n((?:    .*\n|\n)+)", TEXT.split("\njobs:\n")[1], re.MULTILINE)
    assert [name for name, _ in jobs] == ["test", "test-all", "gate"]
    for _, body in jobs:
        assert {"if", "runs-on", "timeout-minutes", "steps"} == set(
            re.findall(r"^    ([\w-]+):", body, re.MULTILINE)
        )


def test_actions_are_pinned_by_major_version():
    used = values("uses")
    actions = {"checkout", "setup-python", "upload-artifact"}
    assert {use.partition("@")[0] for use in used} == {f"actions/{name}" for name in actions}
    assert all(re.fullmatch(r"[\w/-]+@v\d+", use) for use in used)


def test_python_is_the_one_that_bounds_were_measured_with():
    assert set(values("python-version")) == {"3.11"}
    assert 'requires-python = ">=3.11' in (ROOT / "pyproject.toml").read_text()


def test_what_it_runs_exists():
    assert values("run") == [".ci/run", "make test-all", "make parity"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o100
    assert "\nparity:" in MAKEFILE


def test_each_tier_is_one_target():
    # Each change passes .ci/run; what takes long is for the night.
    assert (ROOT / ".ci/run").read_text().splitlines()[-2:] == ["make lint", "make test"]
    recipes = dict(re.findall(r"^(test[\w-]*): setup\n\t(.+)$", MAKEFILE, re.MULTILINE))
    assert recipes == {"test": '$(PYTEST) -m "not full"', "test-all": "$(PYTEST)"}


def test_what_the_gate_leaves_is_kept_also_when_it_fails():
    written = re.search(r"--report (\S+) --junit (\S+)", MAKEFILE)
    assert values("path") == [written[1]]
    assert written[2].startswith(f"{written[1]}/")
    step = TEXT.split("actions/upload-artifact")[1]
    assert "if: always()" in step
