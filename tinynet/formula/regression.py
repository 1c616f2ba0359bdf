"""Gaussian-process regression of a multiplier on the cost ratio, with its uncertainty."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

KERNELS = ("matern32", "matern52", "rbf")
MINIMUM_POINTS = 3

_SMOOTHNESS = {"matern32": 1.5, "matern52": 2.5, "rbf": math.inf}
# In natural logarithms of the cost ratio: what is fitted stays between a tenth of an e-fold, less
# than the gap between any two released members, and ten, more than a family spans.
_LENGTH_SCALES = (0.1, 10.0)
_VARIANCES = (1e-2, 1e2)
_NOISES = (1e-6, 1.0)
_RESTARTS = 2
# What scikit-learn adds to the diagonal beside the noise, so that it can be inverted.
_JITTER = 1e-10
# Of a normal distribution: 95 % lie within so many standard deviations.
_DEVIATIONS = 1.959963984540054


@dataclasses.dataclass(frozen=True, slots=True)
class Process:
    """The settings of a Gaussian process. What is None is fitted to the points.

    The covariance is variance * kernel(distance / length_scale) + noise on the diagonal, of
    ln(multiplier), centred and scaled to unit variance, over ln(cost ratio). Fitted
    hyper-parameters maximise the marginal likelihood, from 1 and two more starts drawn from seed 0.

    Attributes:
        kernel: "matern32", "matern52" (Matern with smoothness 3/2 or 5/2) or "rbf" (the limit of
            infinite smoothness).
        length_scale: in natural logarithms of the cost ratio; fitted between 0.1 and 10.
        noise: variance of the noise, as a share of the variance of the points; fitted between
            1e-6 and 1. The variance is always fitted, between 0.01 and 100.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), chapters 2, 4
    and 5. That it is fitted in logarithms is this project's choice: multipliers stay positive, and
    EfficientNet's compound scaling is then a straight line.
    """

    kernel: str = "matern32"
    length_scale: float | None = None
    noise: float | None = None

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f'kernel is "{self.kernel}", expected one of {", ".join(KERNELS)}')
        for name in ("length_scale", "noise"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value:g}, expected a number above 0")


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """A predicted multiplier, and the interval that holds it with a probability of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} (95 %: {self.low:.4f} to {self.high:.4f})"


@dataclasses.dataclass(frozen=True, slots=True)
class Curve:
    """A multiplier as a function of the cost ratio: a Gaussian process that has seen points.

    It holds all that a prediction takes, so that a curve can be stored, and read without what
    fitted it.

    Attributes:
        costs: cost ratios of the points, each above 0.
        values: the multiplier at each of them, above 0.
        kernel: as in :class:`Process`.
        variance: of the process, as a share of the variance of the points.
        length_scale: in natural logarithms of the cost ratio.
        noise: variance of the noise, as a share of the variance of the points.
    """

    costs: tuple[float, ...]
    values: tuple[float, ...]
    kernel: str
    variance: float
    length_scale: float
    noise: float

    def __call__(self, cost: float) -> Prediction:
        """Predicts the multiplier at a cost ratio above 0.

        Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), equations
        2.25 and 2.26. The interval is that of a new point, with its noise.
        """
        x, y = np.log(self.costs), np.log(self.values)
        middle, scale = float(y.mean()), float(y.std()) or 1.0
        seen = self._covariance(x[:, None] - x) + (self.noise + _JITTER) * np.eye(len(x))
        new = self._covariance(math.log(cost) - x)
        weights = np.linalg.solve(seen, new)
        mean = middle + float(weights @ (y - middle))
        variance = self.variance + self.noise - float(weights @ new)
        reach = _DEVIATIONS * scale * math.sqrt(max(variance, 0.0))
        return Prediction(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach))

    def _covariance(self, distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # Source: the same, equations 4.9 and 4.17.
        x = abs(distance) / self.length_scale
        if self.kernel == "rbf":
            return self.variance * np.exp(-(x**2) / 2)
        x *= math.sqrt(2 * _SMOOTHNESS[self.kernel])
        polynomial = 1 + x if self.kernel == "matern32" else 1 + x + x**2 / 3
        return self.variance * polynomial * np.exp(-x)


def fit_curve(costs: Sequence[float], values: Sequence[float], process: Process) -> Curve:
    """Fits a curve to points, with scikit-learn.

    Args:
        costs: cost ratios of the points, each above 0.
        values: the multiplier at each of them, above 0.
        process: settings of the Gaussian process.

    Raises:
        ValueError: fewer than three points.
    """
    if len(costs) < MINIMUM_POINTS:
        raise ValueError(
            f"{len(costs)} points to fit a curve to, expected at least {MINIMUM_POINTS}"
        )
    # Imported here: it takes longer than all else that makes a spec of a budget.
    import sklearn.gaussian_process as gp  # pyright: ignore[reportMissingTypeStubs]

    kernels = cast(Any, gp.kernels)
    kernel = kernels.ConstantKernel(1.0, _VARIANCES) * kernels.Matern(
        process.length_scale or 1.0,
        _LENGTH_SCALES if process.length_scale is None else "fixed",
        nu=_SMOOTHNESS[process.kernel],
    ) + kernels.WhiteKernel(process.noise or 1e-2, _NOISES if process.noise is None else "fixed")
    model = cast(Any, gp.GaussianProcessRegressor)(
        kernel, alpha=_JITTER, normalize_y=True, n_restarts_optimizer=_RESTARTS, random_state=0
    )
    with warnings.catch_warnings():
        # That a hyper-parameter ends at its bound, as the noise of exact points does.
        warnings.simplefilter("ignore")
        model.fit([[math.log(cost)] for cost in costs], [math.log(value) for value in values])
    scaled, noise = model.kernel_.k1, model.kernel_.k2
    fitted = (scaled.k1.constant_value, scaled.k2.length_scale, noise.noise_level)
    return Curve(tuple(costs), tuple(values), process.kernel, *map(float, fitted))
