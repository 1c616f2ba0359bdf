"""The Gaussian process against the closed form, written here from the book, and scikit-learn's."""

import math

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from tinynet.formula.regression import KERNELS, Curve, Process, fit_curve

COSTS = [0.06, 0.13, 0.26, 0.52, 0.87]
VALUES = [0.475, 0.68, 0.825, 0.84, 0.86]
LENGTH, NOISE = 1.3, 0.02

# Rasmussen and Williams, equations 4.9 and 4.17, of the distance over the length scale.
CORRELATION = {
    "rbf": lambda x: np.exp(-(x**2) / 2),
    "matern32": lambda x: (1 + math.sqrt(3) * x) * np.exp(-math.sqrt(3) * x),
    "matern52": lambda x: (1 + math.sqrt(5) * x + 5 * x**2 / 3) * np.exp(-math.sqrt(5) * x),
}


def by_hand(kernel, cost):
    """Value and interval at a cost; the variance is found on a grid of a million steps."""
    x, y = np.log(COSTS), np.log(VALUES)
    mean, scale = y.mean(), y.std()
    z = (y - mean) / scale
    shape = CORRELATION[kernel](abs(x[:, None] - x) / LENGTH)
    # In the basis of its eigenvectors the likelihood of every variance is a sum.
    eigenvalues, vectors = np.linalg.eigh(shape)
    variances = np.exp(np.linspace(math.log(1e-2), math.log(1e2), 1_000_000))[:, None]
    spectrum = variances * eigenvalues + NOISE
    likelihood = -((vectors.T @ z) ** 2 / spectrum + np.log(spectrum)).sum(1)
    variance = variances[likelihood.argmax(), 0]
    covariance = variance * shape + NOISE * np.eye(len(x))
    new = variance * CORRELATION[kernel](abs(x - math.log(cost)) / LENGTH)
    middle = mean + scale * new @ np.linalg.solve(covariance, z)
    # Of what would be measured there: noise included.
    deviation = scale * math.sqrt(variance + NOISE - new @ np.linalg.solve(covariance, new))
    return [math.exp(middle + times * 1.959964 * deviation) for times in (0, -1, 1)]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cost", [0.03, 0.13, 0.4, 1.5])
def test_predictions_are_those_of_the_closed_form(kernel, cost):
    found = fit_curve(COSTS, VALUES, Process(kernel, LENGTH, NOISE))(cost)
    assert [found.value, found.low, found.high] == pytest.approx(by_hand(kernel, cost), rel=1e-4)


@pytest.mark.parametrize(
    ("kernel", "smoothness"), [("matern32", 1.5), ("matern52", 2.5), ("rbf", math.inf)]
)
def test_predictions_are_those_of_scikit_learn(kernel, smoothness):
    curve = Curve(tuple(COSTS), tuple(VALUES), kernel, 2.5, 1.7, 1e-3)
    theirs = GaussianProcessRegressor(
        ConstantKernel(2.5) * Matern(1.7, nu=smoothness) + WhiteKernel(1e-3),
        normalize_y=True,
        optimizer=None,
    ).fit(np.log(COSTS)[:, None], np.log(VALUES))
    for cost in np.geomspace(0.01, 3, 50):
        (mean,), (deviation,) = theirs.predict([[math.log(cost)]], return_std=True)
        found = curve(cost)
        assert math.log(found.value) == pytest.approx(mean, rel=1e-9, abs=1e-9)
        half = math.log(found.high / found.low) / 2
        assert half == pytest.approx(1.959963984540054 * deviation, rel=1e-6)


def test_points_that_are_all_alike_make_a_flat_curve():
    flat = fit_curve(COSTS, [0.8] * 5, Process())
    assert flat(0.3).value == pytest.approx(0.8)
    assert flat(0.01).value == pytest.approx(0.8)


def test_exact_points_are_met_and_far_from_them_is_uncertain():
    curve = fit_curve(COSTS, VALUES, Process())
    for cost, value in zip(COSTS, VALUES, strict=True):
        assert curve(cost).value == pytest.approx(value, rel=2e-3)
    spread = {cost: curve(cost).high / curve(cost).low for cost in (0.26, 0.19, 0.02)}
    assert spread[0.26] < spread[0.19] < spread[0.02]


def test_scattered_points_are_not_followed():
    costs = np.exp(np.linspace(-3, 0, 30))
    values = np.exp(0.3 * np.log(costs) + 0.05 * np.random.default_rng(0).normal(size=30))
    curve = fit_curve(list(costs), list(values), Process())
    for cost in (0.1, 0.3, 0.7):
        assert curve(cost).value == pytest.approx(cost**0.3, rel=0.05)
        assert curve(cost).low < cost**0.3 < curve(cost).high


def test_the_same_points_make_the_same_curve():
    one, other = (fit_curve(COSTS, VALUES, Process())(0.3) for _ in range(2))
    assert one == other
    assert str(one) == f"{one.value:.4f} (95 %: {one.low:.4f} to {one.high:.4f})"


def test_hyper_parameters_are_reported_and_can_be_given():
    usual = fit_curve(COSTS, VALUES, Process())
    assert (usual.kernel, usual.costs, usual.values) == ("matern32", tuple(COSTS), tuple(VALUES))
    assert 0.1 < usual.length_scale < 10
    given = fit_curve(COSTS, VALUES, Process("matern52", 2.0, 0.5))
    assert (given.kernel, given.length_scale, given.noise) == ("matern52", 2.0, 0.5)
    assert given.variance != usual.variance


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": "cubic"}, 'kernel is "cubic", expected one of matern32, matern52, rbf'),
        ({"length_scale": 0.0}, "length_scale is 0, expected a number above 0"),
        ({"noise": math.nan}, "noise is nan, expected a number above 0"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(ValueError, match="expected") as caught:
        Process(**settings)
    assert str(caught.value) == message


def test_too_few_points():
    with pytest.raises(ValueError, match="2 points to fit a curve to, expected at least 3"):
        fit_curve(COSTS[:2], VALUES[:2], Process())
