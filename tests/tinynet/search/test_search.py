import csv
import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.stats import rankdata

from tinynet.formula.frontier import load_frontier
from tinynet.net.complexity import count
from tinynet.net.twist import derive
from tinynet.recipe import RECIPE_DIRECTORY, format_recipe, load_recipe
from tinynet.search.analysis import collect
from tinynet.search.plan import Plan, SearchError, load_plan, open_search
from tinynet.search.reports import format_table
from tinynet.search.results import Result, load_results, save_result
from tinynet.search.sampling import sample, trainings
from tinynet.spec import SPEC_DIRECTORY, load_spec

BASE = load_spec(SPEC_DIRECTORY / "search/efficientnet_b0_digits.json")
PATH = RECIPE_DIRECTORY / "search/digits_search.json"
RECIPE = load_recipe(PATH)
RANGES = ((0.5, 1.5), (0.25, 1.0), (0.1, 2.0))
HOW = (RECIPE, "torch", "float32", None, 1437, "images")
PLAN = Plan(BASE, 0, (0.05, 0.1, 0.2), *RANGES, 0.03, *HOW)


def result(training, accuracy, seconds=1.0):
    spec = training.solution.spec
    net = (spec.name, spec.sha256, training.solution.twist, training.cost)
    counted = dataclasses.astuple(count(spec))
    how = ("torch", "digits_search", 4.0)
    return Result(training.index, training.seed, *net, *counted, *how, accuracy, seconds)


def accuracy(training):
    """An invented accuracy: it grows with resolution and is lower for the second seed."""
    return round(90 + 5 * training.solution.twist.resolution - training.seed, 3)


# Sampling


def test_the_base_is_efficientnet_b0_for_digits():
    assert BASE.stages == load_spec("efficientnet_b0").stages
    assert BASE.expected == count(BASE)
    assert (BASE.labels, BASE.input_size) == (load_spec("tinynet_digits").labels, (1, 32, 32))


def test_the_recipe_is_that_of_digits_but_shorter():
    assert format_recipe(RECIPE) == PATH.read_text()
    digits = load_recipe("digits", ["epochs=4", "schedule.warmup_epochs=1"])
    assert dataclasses.replace(digits, name=RECIPE.name, spec=None, source=RECIPE.source) == RECIPE


def test_models_meet_their_budgets_within_the_ranges():
    most = count(BASE).macs
    for index in range(12):
        training = sample(PLAN, index)
        twist, spec = training.solution.twist, training.solution.spec
        assert training.cost == PLAN.costs[index % 3]
        assert abs(count(spec).macs / (training.cost * most) - 1) <= 0.03
        assert derive(BASE, twist, spec.name) == spec
        assert 0.5 <= twist.resolution <= 1.5
        assert 0.25 <= twist.depth <= 1
        assert 0.1 <= twist.width <= 2


def test_a_model_depends_on_seed_and_number_alone():
    drawn = [sample(PLAN, index).solution.twist for index in range(6)]
    assert len(set(drawn)) == 6
    assert [t.solution.twist for t in trainings(PLAN, 6, 1)] == drawn
    assert sample(PLAN, 3).solution.twist == drawn[3]
    assert sample(dataclasses.replace(PLAN, seed=1), 3).solution.twist != drawn[3]
    # Whoever draws these on another machine draws the same.
    assert dataclasses.astuple(drawn[0]) == (0.6641, 0.2725, 0.315)


def test_seeds_take_turns_after_models():
    names = [training.name for training in trainings(PLAN, 2, 2)]
    assert names == ["00000-0", "00001-0", "00000-1", "00001-1"]


@pytest.mark.parametrize("change", [{"costs": (0.0001,)}, {"width": (1.9, 2.0)}])
def test_a_budget_out_of_reach(change):
    with pytest.raises(SearchError, match="of 200 twists none has"):
        sample(dataclasses.replace(PLAN, **change), 0)


# The folder


def test_a_plan_comes_back(tmp_path):
    open_search(tmp_path, PLAN)
    open_search(tmp_path, PLAN)
    assert load_plan(tmp_path) == PLAN
    assert load_spec(tmp_path / "base.json") == BASE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "plan.json: seed is 0, expected 1 as asked for"),
        ({"framework": "mindspore"}, "framework is torch, expected mindspore"),
        ({"depth": (0.25, 2.0)}, r"depth is \(0.25, 1.0\), expected \(0.25, 2.0\)"),
        ({"recipe": load_recipe(PATH, ["epochs=5"])}, r"another recipe: epochs \(4"),
        ({"base": load_spec("efficientnet_b0")}, "base is efficientnet_b0_digits, expected"),
        ({"data_sha256": "others"}, "data_sha256 is images, expected others"),
    ],
)
def test_another_search_is_refused(change, message, tmp_path):
    open_search(tmp_path, PLAN)
    with pytest.raises(SearchError, match=message):
        open_search(tmp_path, dataclasses.replace(PLAN, **change))


def test_a_result_that_is_malformed_is_named(tmp_path):
    training = sample(PLAN, 0)
    save_result(tmp_path, result(training, 50.0), training)
    assert load_results(tmp_path) == [result(training, 50.0)]
    path = tmp_path / "models/00000-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy": "good"}))
    with pytest.raises(SearchError, match=r'00000-0.json: accuracy is "good", expected top-1'):
        load_results(tmp_path)


def test_no_plan(tmp_path):
    with pytest.raises(SearchError, match=r"plan.json: cannot be read"):
        load_plan(tmp_path)


# What was found


@pytest.fixture(scope="module")
def found():
    return collect(PLAN, [result(t, accuracy(t)) for t in sorted_trainings()])


def sorted_trainings():
    return sorted(trainings(PLAN, 15, 2), key=lambda t: (t.index, t.seed))


def test_the_table_has_every_model_and_no_time(found, tmp_path):
    for training in reversed(sorted_trainings()):  # in another order, and slower
        save_result(tmp_path, result(training, accuracy(training), 7.0), training)
    again = collect(PLAN, load_results(tmp_path))
    assert format_table(again) == format_table(found)
    rows = list(csv.DictReader(format_table(found).splitlines()))
    assert len(rows) == 15
    assert [row["cost"] for row in rows] == ["0.05"] * 5 + ["0.1"] * 5 + ["0.2"] * 5
    for row in rows:
        first, second = map(float, row["accuracies"].split())
        assert float(row["accuracy"]) == pytest.approx((first + second) / 2, abs=1e-3)
    assert {row["name"] for row in rows if row["front"] == "yes"} == {p.name for p in found.front}


def test_correlations_are_those_of_ranks(found):
    assert len(found.correlations) == 9
    for row in found.correlations:
        models = [m for m in found.models if m.cost == row.cost]
        ranks = rankdata([getattr(m.twist, row.multiplier) for m in models])
        others = rankdata([m.accuracy for m in models])
        assert row.rho == pytest.approx(np.corrcoef(ranks, others)[0, 1])
        assert row.models == 5
        if row.multiplier == "resolution":
            assert row.rho == pytest.approx(1)
            assert row.p < 0.01


def test_noise_is_that_of_seeds(found):
    for spread in found.spreads:
        assert spread.seeds == pytest.approx(math.sqrt(0.5))  # two that are one point apart
        assert spread.models > 0


def test_what_is_chosen_meets_the_budgets(found):
    assert found.curves is not None
    for cost, solution in zip(PLAN.costs, found.chosen, strict=True):
        assert solution.budget == round(cost * count(BASE).macs)
        assert solution.relative_error < 0.05


def test_a_search_that_has_just_begun():
    few = collect(PLAN, [result(sample(PLAN, index), 50.0) for index in range(3)])
    assert [(row.rho, row.p) for row in few.correlations] == [(None, None)] * 9
    assert [(spread.seeds, spread.models) for spread in few.spreads] == [(None, None)] * 3
    assert (few.curves, few.chosen) == (None, ())
    with pytest.raises(SearchError, match="no results yet"):
        collect(PLAN, [])


def test_a_net_that_diverged_once_is_listed_and_left_out(found, tmp_path):
    best = max(found.models, key=lambda m: (m.cost == 0.2, m.accuracy))
    for training in sorted_trainings():
        reached = accuracy(training)
        if training.index == best.index and training.seed == 1:
            reached = None
        save_result(tmp_path, result(training, reached), training)
    again = collect(PLAN, load_results(tmp_path))
    assert again.models == tuple(m for m in found.models if m != best)
    (diverged,) = again.diverged
    assert diverged == dataclasses.replace(best, accuracies=best.accuracies[:1], diverged=1)
    assert best.name in {p.name for p in found.front}
    assert best.name not in {p.name for p in (*again.front, *again.frontier.points)}
    assert [row.models for row in again.correlations] == [5, 5, 5, 5, 5, 5, 4, 4, 4]
    # The last of its budget, which is the last.
    row = list(csv.DictReader(format_table(again).splitlines()))[-1]
    shown = (row["name"], row["accuracy"], row["front"], row["diverged"])
    assert shown == (best.name, "", "no", "1")
    assert row["accuracies"] == f"{best.accuracies[0]:.3f}"
    usual = list(csv.DictReader(format_table(found).splitlines()))
    assert {row["diverged"] for row in usual} == {"0"}


def test_a_search_of_which_all_diverged():
    nothing = collect(PLAN, [result(t, None) for t in sorted_trainings()])
    assert (nothing.models, nothing.front, nothing.frontier.points) == ((), (), ())
    assert [m.diverged for m in nothing.diverged] == 15 * [2]
    assert (nothing.curves, nothing.chosen) == (None, ())


def test_a_result_of_another_net_is_refused():
    wrong = dataclasses.replace(result(sample(PLAN, 0), 50.0), macs=1)
    with pytest.raises(SearchError, match="macs is 1, expected 39"):
        collect(PLAN, [wrong])


# The command, where it trains nothing


def test_what_diverged_is_reported(tmp_path, run_script):
    open_search(tmp_path, PLAN)
    for training in sorted_trainings():
        reached = None if training.index < 2 else accuracy(training)
        save_result(tmp_path, result(training, reached), training)
    status, out, err = run_script("search", "--output", tmp_path, "--collect")
    assert (status, err) == (0, "")
    parts = out.split("\n\n")
    assert parts[0] == "15 twists of efficientnet_b0_digits, 30 trainings"
    title, _, *rows = parts[1].splitlines()
    assert title == "diverged, and left out of all that follows"
    assert [row.split()[1:4] for row in rows] == 2 * [["2", "of", "2"]]
    assert [row.split()[-1] for row in rows] == [f"efficientnet_b0_digits-0-{n}" for n in (0, 1)]
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["models"], report["trainings"]) == (15, 30)
    assert [model["index"] for model in report["diverged"]] == [0, 1]


@pytest.fixture
def folder(tmp_path):
    open_search(tmp_path, PLAN)
    for training in sorted_trainings():
        save_result(tmp_path, result(training, accuracy(training)), training)
    return tmp_path


def test_collecting(folder, found, run_script):
    status, out, err = run_script(
        "search", "--output", folder, "--collect", "--json", "--figures", folder / "drawn"
    )
    assert (status, err, out.count("\n")) == (0, "", 1)
    report = json.loads(out)
    assert (report["models"], report["trainings"]) == (15, 30)
    assert report["output"] == str(folder)
    stored = json.loads((folder / "report.json").read_text())
    assert {key: report[key] for key in stored} == stored
    assert (folder / "table.csv").read_text() == format_table(found)
    assert load_frontier(folder / "frontier.json") == found.frontier
    drawn = {path.name for path in (folder / "drawn").iterdir()}
    assert drawn == {"search_fixed_cost.svg", "search_front.svg", "search_curves.svg"}


def test_the_formula_takes_the_frontier(folder, run_script):
    run_script("search", "--output", folder, "--collect")
    status, out, err = run_script(
        "derive", "--frontier", folder / "frontier.json", "--macs", "1M", "--json"
    )
    assert (status, err) == (0, "")
    assert json.loads(out)["base"] == "efficientnet_b0_digits"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--costs", "0.1,0.1"], "0.1,0.1 names a cost twice"),
        (["--costs", "none"], "none is not a number from 0 to 64, above 0"),
        (["--resolution", "2,1"], "2,1 is not a range, expected LOW,HIGH"),
        (["--tolerance", "1"], "1 is not a share"),
        (["--models", "0"], '"0" is not a whole number from 1'),
        ([], "--framework is missing, expected torch or mindspore"),
        (["--collect"], "plan.json: cannot be read: No such file or directory"),
        (["--framework", "torch", "--recipe", "imagenet"], "--data is not given"),
        (["--framework", "torch", "--set", "epochs=none"], "epochs"),
        (["--framework", "torch", "--data", "digitz"], "digitz: no such data"),
        (["--framework", "torch", "--costs", "0.0001"], "of 200 twists none has 787 macs"),
    ],
)
def test_mistakes(arguments, message, tmp_path, run_script):
    status, out, err = run_script("search", "--output", tmp_path / "search", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err
    assert not (tmp_path / "search").exists()
