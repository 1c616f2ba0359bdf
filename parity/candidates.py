"""The ways to run a net that are compared with each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import metadata

from tinynet.backend import REFERENCE, load_backend

from parity.results import Origin
from parity.tolerances.calibration import Setting


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate:
    """One way to run the net: a twin, a mode, a device, a precision, and whether its gates are
    computed in float64.
    """

    framework: str
    mode: str
    device: str = "cpu"
    precision: str = "float32"
    exact_gates: bool = False

    def __str__(self) -> str:
        words = [self.framework, self.mode]
        words += [self.device] * (self.device != "cpu")
        words += [self.precision] * (self.precision != "float32")
        return " ".join(words) + ", exact gates" * self.exact_gates

    def origin(self, part: str = "", moved_from: str = "") -> Origin:
        """Says where a comparison of it comes from; the arguments are attributes of Origin."""
        return Origin(framework=self.framework, mode=self.mode, part=part, moved_from=moved_from)

    @property
    def setting(self) -> Setting:
        """What its errors depend on."""
        version = metadata.version(self.framework).partition("+")[0]
        return Setting(self.framework, version, self.device, self.precision, self.mode)


# Its float32 errors are the noise that every bound is a multiple of.
BASELINE = Candidate(REFERENCE, "eager")
# The reference: the same twin in float64.
TRUTH = dataclasses.replace(BASELINE, precision="float64")


def candidates_of(
    framework: str = "mindspore",
    modes: Sequence[str] = (),
    device: str = "cpu",
    precision: str = "float32",
) -> list[Candidate]:
    """Lists the ways to run a framework that are to be proven: in some of its ``MODES``, by default
    all, on one of its ``DEVICES``, in one of its probe's ``PRECISIONS`` but float64.

    Raises:
        BackendError: no such framework, or it is not installed.
        ValueError: no such mode, device or precision.
    """
    twin = load_backend(framework, tune=True)
    known = twin.predict.MODES
    if not set(modes) <= set(known):
        raise ValueError(f"modes are {', '.join(modes)}, expected some of {', '.join(known)}")
    precisions = [name for name in twin.probe.PRECISIONS if name != "float64"]
    if precision not in precisions:
        raise ValueError(f"precision is {precision!r}, expected one of {', '.join(precisions)}")
    twin.predict.set_device(device)
    return [Candidate(framework, mode, device, precision) for mode in modes or known]
