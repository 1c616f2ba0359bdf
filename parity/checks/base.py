"""What a check of the suite is, with all that else has to be known of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal, Unpack

from tinynet.spec import Spec

from parity.candidates import BASELINE, TRUTH, Candidate
from parity.context import NOISE_SAMPLES, Context
from parity.distances import Array, compare_values, norm
from parity.results import CheckResult, Comparison, Origin, Series
from parity.tolerances.bounds import BOUNDS, Bound
from parity.tolerances.quantities import has_exp
from parity.tracing import bisection
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect

# Units and reasons that several checks have.
SHARE = "share of numbers that differ"
RELATIVE = "relative rms error"
IDENTICAL = "a copy has no rounding: identical bits"

# How the page draws what a check measured at many places: by layer, or as a map of tensors.
Drawing = Literal["", "layers", "gradients"]


def compare_equal(
    candidate: str, where: str, otherwise: str, **origin: Unpack[Origin]
) -> Comparison:
    """Compares what is equal or not; ``otherwise`` says how it differs, empty where it does not."""
    error = float(bool(otherwise))
    return Comparison(candidate, where, error, 0.0, kind="bits", note=otherwise, **origin)


class Check(ABC):
    """One check of the suite: what it compares, and where a failure of it comes from.

    Attributes:
        name: as options, reports and known differences have it.
        title: what it shows, for a person.
        unit: of its errors.
        reason: why its bounds are what they are; by default that of its first quantity.
        needs: what of training it needs: nothing, single steps, or images to train on.
        quantities: the rows of :data:`parity.tolerances.bounds.BOUNDS` that bound it; a check
            without any is not calibrated.
        by_chance: whether a net that is not smooth may differ by chance, see
            :func:`parity.checks.non_smooth.over_batches`.
        drawing: how the page draws many places, beside the spread of their errors; empty where
            their order tells nothing.
        exports: whether it writes ONNX files, which takes longer than all other checks together;
            no check depends on one that does.
        recorded_with: of :data:`parity.recordings.record.PARTS`, the part of a recording that has
            it; empty for none.
        releases: the pieces of a :class:`Context` that no later check needs.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    unit: ClassVar[str]
    reason: ClassVar[str]
    needs: ClassVar[Literal["", "steps", "images"]] = ""
    quantities: ClassVar[tuple[str, ...]] = ()
    by_chance: ClassVar[bool] = False
    drawing: ClassVar[Drawing] = "layers"
    exports: ClassVar[bool] = False
    recorded_with: ClassVar[str] = ""
    releases: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        if cls.quantities and not hasattr(cls, "reason"):
            cls.reason = BOUNDS[cls.quantities[0]].reason

    @abstractmethod
    def compare(self, context: Context) -> Iterator[Comparison | Series]:
        """Compares in the order in which data or gradients flow: the first to fail is nearest to
        the cause.
        """

    @abstractmethod
    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        """Traces a failure to a definition; None where all parts are right each for itself."""

    def obstacle(self, context: Context) -> str:
        """Says why the check cannot be run with a spec at all; empty where it can."""
        if self.needs and context.spec.batch_norm is None:
            return "batch norm is folded into the convolutions, for inference only"
        if self.needs == "images" and not context.can_train:
            return f"no image has {context.spec.input_size[0]} channels to train on"
        return ""

    def result(
        self,
        comparisons: Iterable[Comparison] = (),
        seconds: float = 0.0,
        series: Iterable[Series] = (),
        skipped: str = "",
    ) -> CheckResult:
        """Makes a result of this check."""
        about = self.name, self.title, self.unit, self.reason
        return CheckResult(*about, tuple(comparisons), seconds, tuple(series), skipped)

    def suspect(self, comparison: Comparison, source: Source, explanation: str) -> Suspect:
        """Names a definition as the cause of a failed comparison."""
        return Suspect(comparison.where, self.title, source, comparison, explanation)


class MeasuredCheck(Check):
    """A check of numbers: the reference's, the baseline's, whose errors are the noise, and those of
    each candidate. The names of places may begin with a part of the check and a slash.

    Attributes:
        tracer: of :mod:`parity.tracing.bisection`, finds the operation that is off.
    """

    unit = RELATIVE
    tracer: ClassVar[staticmethod[[Context, Candidate], Suspect | None]] = staticmethod(
        bisection.forward
    )

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        return self.tracer(context, context.candidate_of(result.failures[0]))

    @abstractmethod
    def found(self, context: Context, candidate: Candidate, sample: int = 0) -> dict[str, Array]:
        """Computes place -> numbers for a sample of the noise, 0 for inputs that are not moved."""

    def truths(self, context: Context) -> dict[str, Array]:
        """Computes the same in float64."""
        return self.found(context, TRUTH)

    def baselines(self, context: Context) -> list[dict[str, Array]]:
        """Computes the same in float32: several samples of the noise."""
        return [self.found(context, BASELINE, sample) for sample in range(NOISE_SAMPLES)]

    def quantity(self, where: str, spec: Spec) -> str:
        """Names the row of bounds that holds at a place: of two the second is without exp."""
        return self.quantities[0 if has_exp(spec) else -1]

    def scales(self, truths: Mapping[str, Array], norms: Mapping[str, float]) -> dict[str, float]:
        """Says what errors are relative to, at places where that is not the norm of the truth:
        from numbers, or a sample of them, and the norm of all numbers at each place.
        """
        return {}

    def candidates(self, context: Context) -> list[Candidate]:
        """Lists what is compared with the reference."""
        return context.candidates

    def bound(self, context: Context, where: str, candidate: Candidate) -> Bound:
        """Finds the bound at a place."""
        return context.bound(self.quantity(where, context.spec), candidate)

    def places(self, context: Context, candidate: Candidate, names: Iterable[str]) -> list[str]:
        """Lists the places at which a candidate is compared, of all that there are."""
        return list(names)

    def compare(self, context: Context) -> Iterator[Comparison | Series]:
        truths, baselines = self.truths(context), self.baselines(context)
        scales = self.scales(truths, {name: norm(truth) for name, truth in truths.items()})
        for candidate in self.candidates(context):
            found = self.found(context, candidate)
            for name in self.places(context, candidate, truths):
                part, _, where = name.rpartition("/")
                yield compare_values(
                    f"{candidate}, {part}" if part else str(candidate),
                    where,
                    found.get(name),
                    truths[name],
                    [baseline[name] for baseline in baselines],
                    self.bound(context, where, candidate),
                    scales.get(name),
                    **candidate.origin(part),
                )
