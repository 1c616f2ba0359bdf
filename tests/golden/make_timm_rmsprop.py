"""Makes timm_rmsprop.json: what timm's RMSpropTF makes of tensors of 1 to 33 numbers.

Needs timm (1.0.31) and torch, which the tests do not: they use :func:`problem` of this file and
compare with the numbers it stored.

    python tests/golden/make_timm_rmsprop.py
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tinynet.utils.random_numbers import normal, uniform

FILE = Path(__file__).with_name("timm_rmsprop.json")
SIZES = range(1, 34)  # around every multiple of 8 that a kernel may take as a block
STEPS = 3
MOMENTUM, DECAY, EPS = 0.9, 0.9, 1e-3
WEIGHT_DECAYS = (0.0, 0.1)  # one that is seen: the recipes' 1e-5 is lost in a few steps


class Problem(NamedTuple):
    """Parameters, and for each step gradients of all of them and a learning rate."""

    parameters: list[np.ndarray]
    gradients: list[list[np.ndarray]]
    rates: list[float]


def problem(sizes=SIZES, steps=STEPS):
    """Numbers made by a formula; gradients from 1e-4 to 10, so that eps counts, and does not."""

    def draw(*key):
        return [normal((size,), *key, size).astype(np.float32) for size in sizes]

    gradients = []
    for step in range(steps):
        scales = [10 ** (5 * uniform((size,), "scale", step, size) - 4) for size in sizes]
        drawn = draw("gradient", step)
        gradients.append([(a * b).astype(np.float32) for a, b in zip(drawn, scales, strict=True)])
    rates = [float(np.float32(0.048 * 0.5**step)) for step in range(steps)]
    return Problem(draw("parameter"), gradients, rates)


def joined(arrays):
    """Float32 arrays as one, in hexadecimal: every bit, in little space."""
    return np.concatenate([np.ravel(array) for array in arrays]).astype("<f4").tobytes().hex()


def separate(text, sizes=SIZES):
    """The inverse of :func:`joined`."""
    flat = np.frombuffer(bytes.fromhex(text), "<f4")
    return np.split(flat, np.cumsum(sizes)[:-1])


def main():
    import timm
    import torch
    from timm.optim import RMSpropTF

    golden = {"versions": {"timm": timm.__version__, "torch": torch.__version__}}
    for weight_decay in WEIGHT_DECAYS:
        start, gradients, rates = problem()
        tensors = [torch.tensor(array, requires_grad=True) for array in start]
        optimizer = RMSpropTF(
            tensors, alpha=DECAY, eps=EPS, momentum=MOMENTUM, weight_decay=weight_decay
        )
        steps = []
        for of_step, rate in zip(gradients, rates, strict=True):
            for tensor, gradient in zip(tensors, of_step, strict=True):
                tensor.grad = torch.tensor(gradient)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            steps.append(joined([tensor.detach().numpy() for tensor in tensors]))
        slots = {
            ours: joined([optimizer.state[tensor][theirs].numpy() for tensor in tensors])
            for ours, theirs in (("mean_square", "square_avg"), ("momentum", "momentum_buffer"))
        }
        golden[str(weight_decay)] = {"parameters": steps} | slots
    FILE.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
