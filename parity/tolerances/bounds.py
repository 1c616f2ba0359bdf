"""Every bound of the parity suite, in one table, each with its reason.

A bound is a factor times rounding noise. The noise is measured in the same run: the PyTorch twin in
float32 against the same mathematics in float64, on the same inputs. Where a measured noise happens
to be smaller than a few roundings could explain (a layer that computes little, a lucky sum), a
floor in units of float32 roundoff takes its place.

The factor is calibrated: twice the largest multiple of the noise that was seen of a framework's
version on a device, in a precision and a mode, over many seeds and specs
(:mod:`parity.tolerances.calibration`). The factors here apply where no calibration exists, and they
are limits: an error that needs more is not rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

# Largest relative error of rounding a real number to float32.
ROUNDOFF = 2.0**-24
# The same for the other precisions, by the bits of their significands.
# Source: IEEE 754 for float16; 8 bits in bfloat16 and 11 in TF32 by NVIDIA's white paper on the
# A100 architecture.
ROUNDOFFS = {"float32": ROUNDOFF, "tf32": 2.0**-11, "bfloat16": 2.0**-8, "float16": 2.0**-11}


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """``factor`` times the measured noise, which counts as at least ``floor`` roundoffs.

    Attributes:
        quantity: what is bounded.
        factor: what the noise is multiplied by.
        floor: the least noise, in float32 roundoffs.
        reason: why.
        scale: how many times coarser than float32 the precision rounds; noise grows with it.
        typical: place -> noise of float32 as it usually is there, over many seeds. A noise that is
            measured now and smaller was luck.
    """

    quantity: str
    factor: float
    floor: float
    reason: str
    scale: float = 1.0
    typical: Mapping[str, float] = dataclasses.field(default_factory=dict[str, float])

    def noise(self, measured: float, where: str = "") -> float:
        """Returns the noise that the bound is a multiple of: the measured one, or its minimum."""
        least = max(self.floor * ROUNDOFF, self.typical.get(where, 0.0))
        return max(measured, least) * self.scale


_EXP = (
    "MindSpore's float32 exp on CPU is an approximation: sigmoid and SiLU are up to 2.4e-6 from "
    "the truth, relatively, for inputs from -4 to 4, where PyTorch's are within 1.4e-7"
)
_SUMS = (
    f"{_EXP}; and its batch norm in training sums without compensation. In nets made at random "
    "gradients were up to 31 times the noise, in the shipped ones up to 8"
)
_LAYER = (
    "isolated, two summation orders, of which chance may favour one. A CPU sums in many "
    "lanes: one chain of fused multiply-adds, emulated, was up to 2.8 times the noise in "
    "TinyNet-E's squeeze-excites, and CUDA up to 4.3"
)
_GATE = (
    f"isolated, holds a sigmoid or SiLU. {_EXP}; in a layer of few "
    "numbers one of them decides, and exp is up to 4.8e-6, 80 roundoffs, from the truth"
)
_NO_EXP = (
    "a net without sigmoid and SiLU. errors of all layers add up, and both frameworks' are of the "
    "same size"
)
_EXACT_GATES = (
    "with sigmoid and SiLU computed in float64 only the order of summation differs, as in a layer "
    "alone; in a net with ten classes chance decides more"
)
_LOSS_ALONE = (
    "log-softmax uses exp, and nothing before it does, so that its exp alone decides: up "
    "to 4.8e-6 from the truth, 35 roundoffs of a loss of ten classes. Small ResNets were "
    "at 1.2e-6"
)
_GRADIENT = f"per parameter, of which some have one or two numbers, and chance decides. {_SUMS}"
_ISOLATED = f"per parameter, of one block fed the reference's own input and gradient. {_SUMS}"
_KINKED = (
    "per parameter. ReLU6's gradient jumps at 0 and 6: an activation that rounds to the "
    "other side changes all gradients before it, and which do is chance. PyTorch's own "
    "float32 is 6e-3 from float64 in the median, MindSpore 9e-3 (Lite0)"
)
_KINKED_ALONE = (
    "per parameter, of one block. ReLU6's gradient jumps at 0 and 6, here within one block"
)
_TRAJECTORY = (
    "losses and states over many steps of training, which amplifies every rounding, "
    f"float32's own and MindSpore's alike. {_EXP}; a batch norm over few pixels, as "
    "in tinynet_digits, amplifies that in the first step already"
)
_ONNX = "ONNX Runtime fuses batch norm into convolutions, and has its own exp"

_BOUNDS = (
    Bound("layer", 10, 1, _LAYER),
    Bound("gate layer", 20, 4, _GATE),
    Bound("chained", 40, 1, f"errors of all layers before add up. {_EXP}"),
    Bound("chained, no exp", 6, 1, _NO_EXP),
    Bound("logits", 30, 1, f"errors of all layers add up. {_EXP}"),
    Bound("logits, exact gates", 4, 1, _EXACT_GATES),
    Bound("loss", 20, 2, f"log-softmax uses exp. {_EXP}"),
    Bound("loss, no exp", 10, 8, _LOSS_ALONE),
    Bound("gradient", 64, 4, _GRADIENT),
    Bound("gradient, kinked", 8, 2**16, _KINKED),
    Bound("gradient, isolated", 64, 4, _ISOLATED),
    Bound("gradient, kinked alone", 8, 2**12, _KINKED_ALONE),
    Bound("optimizer", 4, 4, "a handful of roundings a step, in another order"),
    Bound("average", 4, 2, "a product and a sum a step, in another order"),
    Bound("metric loss", 20, 4, f"log-softmax in float64 over logits in float32. {_EXP}"),
    Bound("statistics", 12, 2, f"batch means and variances of activations. {_EXP}"),
    Bound("trajectory", 24, 8, _TRAJECTORY),
    Bound("onnx", 10, 1, _ONNX),
)
BOUNDS: dict[str, Bound] = {bound.quantity: bound for bound in _BOUNDS}
