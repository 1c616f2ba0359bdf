"""What the pages say can be followed: links lead somewhere, commands exist, numbers are true."""

import ast
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tinynet.net.rounding import round_resolution
from tinynet.recipe import RECIPE_DIRECTORY, list_recipes, load_recipe, parse_recipe
from tinynet.spec import SPEC_DIRECTORY, list_specs, load_spec, parse_spec

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
EACH_PAGE = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT)).replace("/", ".")
)

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
SCRIPT = re.compile(r"\bscripts/\w+\.py\b")
MAKE = re.compile(r"(?:^|`)make (\w+)", re.MULTILINE)
TEST = re.compile(r"\btest_\w+\b")


def prose(page):
    """A page's text without its code fences."""
    return FENCE.sub("", page.read_text())


def commands(page):
    """Every command line of a page that runs the program or a script, fenced or in running text."""
    fenced = [line for _, block in FENCE.findall(page.read_text()) for line in block.splitlines()]
    return [
        shlex.split(text.split("&&")[-1], comments=True)
        for text in (*fenced, *INLINE.findall(prose(page)))
        if re.match(r"(\.venv/bin/)?(tinynet [a-z]|python scripts/)", text)
    ]


def launches(page):
    """Every command line in fences that starts a launcher: its name and train.py's arguments."""
    fenced = [line for _, block in FENCE.findall(page.read_text()) for line in block.splitlines()]
    found = [re.search(r"scripts/launch/(\S+) (.+)", line) for line in fenced]
    return [(match[1], shlex.split(match[2])) for match in found if match]


@cache
def usage(*words):
    """The help text of a command, or of one of its verbs, which lists its options."""
    start = [ROOT / words[0]] if words[0].startswith("scripts/") else ["-m", "tinynet", words[0]]
    command = [sys.executable, *start, *words[1:], *(["--help"] * ("--help" not in words))]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def usage_of(words):
    """The help text that belongs to a command line."""
    verbs = {path.stem for path in (ROOT / "parity" / "cli").glob("*.py")}
    verb = words[2:3] if words[1] == "parity" and words[2:3] and words[2] in verbs else []
    return usage(words[1], *verb)


def table(text, heading):
    """The rows of the table under a heading, cell by cell, without its head."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row] for row in rows[2:]]


# Links


@EACH_PAGE
def test_links_lead_to_files(page):
    broken = [
        link
        for link in LINK.findall(prose(page))
        if "://" not in link and not (page.parent / link.partition("#")[0]).exists()
    ]
    assert broken == []


@EACH_PAGE
def test_scripts_and_tests_that_are_named_exist(page):
    text = page.read_text()
    assert [script for script in SCRIPT.findall(text) if not (ROOT / script).is_file()] == []
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    files = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    unknown = {
        name for name in TEST.findall(text) if name not in files and f"def {name}(" not in tests
    }
    assert unknown == set()


def test_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {target for page in PAGES for target in MAKE.findall(page.read_text())}
    assert {"demo", "test", "lint"} <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []


# Commands


@EACH_PAGE
def test_options_of_commands_exist(page):
    for words in commands(page):
        known = usage_of(words)
        options = [word for word in words[2:] if word.startswith("-")]
        unknown = [option for option in options if not re.search(rf"{option}\b", known)]
        assert unknown == [], shlex.join(words)


@EACH_PAGE
def test_options_of_launched_commands_exist(page):
    known = usage("train")
    for name, words in launches(page):
        assert (ROOT / "scripts/launch" / name).is_file()
        options = [word for word in words if word.startswith("-")]
        unknown = [option for option in options if not re.search(rf"{option}\b", known)]
        assert unknown == [], shlex.join(words)


@EACH_PAGE
def test_checks_that_commands_run_exist(page):
    known = re.findall(r"[\w-]+", usage("parity"))
    for words in commands(page):
        if "--checks" in words:
            assert set(words[words.index("--checks") + 1].split(",")) <= set(known)


@EACH_PAGE
def test_shipped_specs_that_commands_name_exist(page):
    for words in commands(page):
        for word in words[2:]:
            if re.fullmatch(r"(tinynet|efficientnet)_\w+", word):
                assert word in list_specs()


def test_the_readme_shows_every_job():
    shown = {words[1] for words in commands(ROOT / "README.md")}
    jobs = set(re.findall(r"^  ([a-z][a-z-]*)  ", usage("--help"), re.MULTILINE))
    assert "train" in jobs
    assert jobs - shown == {"demo"}  # it has `make demo`


# Code


@EACH_PAGE
def test_python_is_valid_and_imports_what_exists(page):
    for language, block in FENCE.findall(page.read_text()):
        if language != "python":
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (ROOT / node.module.split(".")[0]).is_dir():
                module = ROOT / node.module.replace(".", "/")
                file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
                source = file.read_text()
                for alias in node.names:
                    there = rf"^(def|class) {alias.name}\b|import {alias.name} as {alias.name}$"
                    assert re.search(there, source, re.MULTILINE)


# Numbers


def test_the_readmes_family_is_what_the_specs_say():
    rows = table((ROOT / "README.md").read_text(), "The family")
    assert sorted(row[0] for row in rows) == list_specs()
    for name, size, macs, params in rows:
        spec = load_spec(name)
        assert size == " x ".join(map(str, spec.input_size))
        assert (macs, params) == (f"{spec.expected.macs:,}", f"{spec.expected.params:,}")


def test_measured_tables_name_every_member():
    for page, heading in [
        ("README.md", "How alike the twins are"),
        ("docs/parity.md", "What was found on the way"),
    ]:
        names = [row[0] for row in table((ROOT / page).read_text(), heading)]
        assert sorted(name for name in names if not name.startswith("bound")) == list_specs()


def test_specs_that_are_shown_are_specs():
    blocks = [
        block
        for kind, block in FENCE.findall((ROOT / "docs/spec.md").read_text())
        if kind == "json" and "spec_version" in block
    ]
    shipped, own = (parse_spec(block) for block in blocks)
    assert blocks[0] == (SPEC_DIRECTORY / "tinynet_c.json").read_text()
    assert shipped == load_spec("tinynet_c")
    assert own.num_classes == len(own.labels)


def test_every_field_of_a_spec_is_explained():
    page = (ROOT / "docs/spec.md").read_text()
    schema = json.loads((SPEC_DIRECTORY / "spec.schema.json").read_text())
    stage = schema["properties"]["stages"]["items"]
    explained = set(INLINE.findall(page))
    assert set(schema["properties"]) | set(stage["properties"]) <= explained


def test_every_field_of_a_recipe_is_explained():
    schema = json.loads((RECIPE_DIRECTORY / "recipe.schema.json").read_text())

    def fields(properties, prefix=""):
        for name, field in properties.items():
            inner = field.get("properties")
            yield from fields(inner, f"{prefix}{name}.") if inner else [prefix + name]

    explained = set(INLINE.findall((ROOT / "docs/training.md").read_text()))
    assert [name for name in fields(schema["properties"]) if name not in explained] == []


def test_the_recipe_that_is_shown_is_the_one_that_is_shipped():
    (shown,) = (
        block
        for kind, block in FENCE.findall((ROOT / "docs/training.md").read_text())
        if kind == "json" and "recipe_version" in block
    )
    assert shown == (RECIPE_DIRECTORY / "imagenet.json").read_text()
    assert parse_recipe(shown) == load_recipe("imagenet")


@pytest.mark.parametrize("recipe", list_recipes())
def test_every_recipe_has_a_section_with_its_commands(recipe):
    page = ROOT / "docs/training.md"
    assert f"\n### {recipe}\n" in page.read_text()
    shown = [(words[1], words[2:]) for words in commands(page)] + launches(page)
    places = {
        (name, named(words, "--device"))
        for name, words in shown
        if named(words, "--recipe") == recipe
    }
    one_device = ("train", None if recipe == "digits" else "cuda")
    assert {one_device, ("torchrun_node.sh", "cuda"), ("msrun_node.sh", "ascend")} <= places


def named(words, option):
    return words[words.index(option) + 1] if option in words else None


def test_steps_that_the_recipes_take():
    from tinynet.training.schedule import total_steps

    page = (ROOT / "docs/training.md").read_text()
    for name, images in [("imagenet", 1_281_167), ("imagenet100", 50_000)]:
        assert f"{total_steps(load_recipe(name), images):,}" in page


def test_input_sides_in_the_rounding_table():
    sides = [
        round_resolution(224, load_spec(f"tinynet_{m}").derivation.twist.resolution)
        for m in "abcde"
    ]
    assert ", ".join(map(str, sides)) in (ROOT / "docs/spec.md").read_text()


# The suite


def test_every_check_is_explained_in_order():
    explained = [row[0] for row in table((ROOT / "docs/parity.md").read_text(), "The checks")]
    help_text = " ".join(usage("parity").split())
    assert f": {', '.join(explained)} " in help_text


def test_bounds_are_the_ones_in_force():
    from parity.candidates import candidates_of
    from parity.tolerances.bounds import BOUNDS
    from parity.tolerances.calibration import factor, find_calibration

    found = [find_calibration(candidate.setting) for candidate in candidates_of()]
    expected = [
        [name, f"{bound.factor:g}", f"{bound.floor:,.0f}"]
        + [
            cell
            for calibration in found
            for multiple in [calibration.multiples[name]]
            for cell in (f"{multiple.largest:g} (`{multiple.spec}`)", f"{factor(multiple):g}")
        ]
        for name, bound in BOUNDS.items()
    ]
    assert table((ROOT / "docs/parity.md").read_text(), "The bounds") == expected


def test_planted_faults_are_the_ones_that_are_planted():
    words = [sys.executable, "-m", "tinynet", "parity", "faults", "--list"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert f"\n{listed}" in (ROOT / "docs/faults.md").read_text()


def test_the_score_in_the_page_is_the_stored_one():
    from parity.faults.score import load_score

    score = load_score()
    faults, alarms = len(score.outcomes), len(score.false_alarms)
    caught = faults - len(score.missed)
    defined = sum(outcome.defined for outcome in score.outcomes)
    page = (ROOT / "docs/faults.md").read_text()
    assert table(page, "The score") == [
        [
            str(faults),
            str(caught),
            str(caught - len(score.mislocalised)),
            str(defined),
            f"{alarms} of {len(score.clean)}",
        ]
    ]
    named = [row[0] for row in table(page, "What is not localised")]
    assert named == [outcome.fault for outcome in score.mislocalised]
    assert f"{faults} planted faults" in (ROOT / "README.md").read_text()
