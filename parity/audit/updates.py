"""The updates: the optimizers of the twins and of the frameworks, and the average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

import numpy as np

from tinynet.recipe import Optimizer

from parity.audit.formulas import followed
from parity.audit.harness import LARGE_BATCH, Array, Harness, Operator, OperatorComparison
from parity.reference import operations
from parity.reference.operations import Slots

_RATE = 0.05


def _rmsprop(harness: Harness) -> Iterator[OperatorComparison]:
    settings = Optimizer("rmsprop", momentum=0.9, weight_decay=0.01, decay=0.9, eps=1e-3)
    tensors = [(size,) for size in harness.sizes] + [(LARGE_BATCH, 129)]
    starts = [
        Slots(harness.draw(*shape), np.abs(harness.draw(*shape)), harness.draw(*shape))
        for shape in tensors
    ]
    gradients = [harness.draw(*shape) for shape in tensors]
    parameters, *slots = map(list, zip(*starts, strict=True))
    kept = dict(zip(Slots._fields[1:], slots, strict=True))
    found = harness.twin.probe.operators.run_optimizer(
        settings, parameters, kept, [gradients], _RATE, harness.device
    )
    how = settings.decay, settings.momentum, settings.eps, settings.weight_decay
    for index, (start, gradient) in enumerate(zip(starts, gradients, strict=True)):
        truth = operations.rmsprop_step(start, gradient, _RATE, *how)
        sizes = Slots(*(np.abs(values).astype(np.float64) for values in start))
        gradient = np.abs(gradient) + settings.weight_decay * sizes.parameter
        step = settings.momentum * sizes.momentum
        step += _RATE * gradient / np.sqrt(truth.mean_square + settings.eps)
        square = operations.ema_step(sizes.mean_square, gradient**2, settings.decay)
        terms = Slots(sizes.parameter + step, square, step)
        where = f"parameter {gradient.shape}"
        for quantity, right, size in zip(Slots._fields, truth, terms, strict=True):
            yield OperatorComparison(quantity, where, found[quantity][index], right, size)


def _sgd(harness: Harness) -> Iterator[OperatorComparison]:
    settings = Optimizer("sgd", momentum=0.9, weight_decay=0.01)
    tensors = [(size,) for size in harness.sizes] + [(LARGE_BATCH, 129)]
    parameters, momenta, gradients = ([harness.draw(*shape) for shape in tensors] for _ in range(3))
    found = harness.twin.probe.operators.run_optimizer(
        settings, parameters, {"momentum": momenta}, [gradients], _RATE, harness.device
    )
    for index, arrays in enumerate(zip(parameters, gradients, momenta, strict=True)):
        how = settings.momentum, settings.weight_decay
        parameter, gradient, momentum = map(np.abs, arrays)
        truth = operations.sgd_step(*arrays, _RATE, *how)
        terms = operations.sgd_step(parameter, gradient, momentum, -_RATE, *how)
        for quantity, right, size in zip(("parameter", "momentum"), truth, terms, strict=True):
            where = f"parameter {arrays[0].shape}"
            yield OperatorComparison(quantity, where, found[quantity][index], right, size)


def _average(harness: Harness) -> Iterator[OperatorComparison]:
    shapes = [(size,) for size in harness.sizes] + [(LARGE_BATCH, 129)]
    averages, tensors = ([harness.draw(*shape) for shape in shapes] for _ in range(2))
    share = 0.01
    found = harness.twin.probe.operators.run_average(averages, tensors, share, harness.device)
    for moved, average, tensor in zip(found, averages, tensors, strict=True):
        truth = operations.ema_step(average, tensor, 1 - share)
        terms = operations.ema_step(np.abs(average), np.abs(tensor), 1 - share)
        yield OperatorComparison("average", f"tensor {tensor.shape}", moved, truth, terms)


# Formulas, recognised by their results after some steps

_STEPS = 5
# In a step of RMSProp: eleven operations, and four settings that are not float32 numbers.
_ROUNDINGS = 15


def _formulas(
    kind: Literal["rmsprop", "sgd"], stock: bool, harness: Harness
) -> Iterator[OperatorComparison]:
    settings = Optimizer(kind, momentum=0.9, weight_decay=0.0, decay=0.9, eps=1e-2)
    # All gradients stay as they are from step to step, so that nothing cancels.
    gradients = [harness.draw(size, mean=0.0, deviation=0.1) for size in harness.sizes]
    zeros = [np.zeros_like(gradient) for gradient in gradients]
    steps = [gradients] * _STEPS
    operators = harness.twin.probe.operators
    if stock:
        found = operators.run_stock_optimizer(settings, zeros, steps, _RATE, harness.device)
    else:
        after = operators.run_optimizer(settings, zeros, {}, steps, _RATE, harness.device)
        found = after["parameter"]
    for moved, gradient in zip(found, gradients, strict=True):
        candidates = _candidates(gradient.astype(np.float64), settings)
        formulas = followed(moved, candidates, _ROUNDINGS * _STEPS)
        # What follows none of them is compared with the first.
        own = [candidates.get(name, next(iter(candidates.values()))) for name in formulas]
        truth = np.array([values[index] for index, values in enumerate(own)])
        where = f"parameter {gradient.shape}"
        # All steps of a number go the same way, so that it is the sum of their sizes.
        yield OperatorComparison("parameter", where, moved, truth, np.abs(truth), formulas)


def _candidates(gradient: Array, settings: Optimizer) -> dict[str, Array]:
    if settings.kind == "sgd":
        kinds = {"momentum": False, "Nesterov's momentum": True}
        return {name: _sgd_steps(gradient, settings, kinds[name]) for name in kinds}
    return {
        f"eps {place} the root, mean square from {start}": _rmsprop_steps(
            gradient, settings, place == "inside", start
        )
        for place in ("inside", "outside")
        for start in (1, 0)
    }


def _rmsprop_steps(gradient: Array, settings: Optimizer, inside: bool, start: int) -> Array:
    parameter, momentum = np.zeros_like(gradient), np.zeros_like(gradient)
    mean_square = np.full_like(gradient, start)
    # One of the two is zero.
    within, beside = (settings.eps, 0.0) if inside else (0.0, settings.eps)
    for _ in range(_STEPS):
        mean_square = operations.ema_step(mean_square, gradient**2, settings.decay)
        root = np.sqrt(mean_square + within) + beside
        momentum = settings.momentum * momentum + _RATE * gradient / root
        parameter -= momentum
    return parameter


def _sgd_steps(gradient: Array, settings: Optimizer, nesterov: bool) -> Array:
    parameter, momentum = np.zeros_like(gradient), np.zeros_like(gradient)
    for _ in range(_STEPS):
        momentum = settings.momentum * momentum + gradient
        step = settings.momentum * momentum + gradient if nesterov else momentum
        parameter -= _RATE * step
    return parameter


UPDATES: dict[str, Operator] = {
    "RMSProp": _rmsprop,
    "SGD": _sgd,
    "average": _average,
    "RMSProp in five steps": partial(_formulas, "rmsprop", False),
    "SGD in five steps": partial(_formulas, "sgd", False),
    "stock RMSProp in five steps": partial(_formulas, "rmsprop", True),
    "stock SGD in five steps": partial(_formulas, "sgd", True),
}
