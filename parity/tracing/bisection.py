"""From a whole net that is off to the one operation that is, forward or back, in either twin.

Each twin is held against the definition on *its own* numbers: what a layer was given there and
what it returned. So a layer answers for itself only, whatever those before it did, and PyTorch,
the judge of everything else, is a suspect like the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from tinynet.backend import Backend, load_backend
from tinynet.net.manifest import TRAINED_ROLES, manifest

from parity.context import LABEL_SMOOTHING, Bench, Subject
from parity.distances import Array, compare_within, norm, relative_error
from parity.reference import operations
from parity.reference.net import NET, Definition, Run
from parity.results import Evidence
from parity.tolerances.bounds import ROUNDOFF
from parity.tolerances.quantities import gradient_scale, layer_quantity, statistic_scale, whole_norm
from parity.tracing import sources
from parity.tracing.sources import Source

Direction = Literal["forward", "backward", ""]


class Culprit(NamedTuple):
    """What was found to be off.

    Attributes:
        where: the layer or key.
        unit: the smallest layer that shows it when it is run alone, :data:`NET` for the whole net.
        operation: what is computed there.
        direction: the way in which numbers flow there.
        source: what answers for it.
        evidence: how far it is off.
        explanation: a sentence for a person.
    """

    where: str
    unit: str
    operation: str
    direction: Direction
    source: Source
    evidence: Evidence
    explanation: str


def forward(bench: Bench, subject: Subject) -> Culprit | None:
    """The first operation that is off in evaluation, in the way data flows."""
    definition = Definition(bench.spec, bench.state)
    reference = _Witness(bench, bench.reference, definition, bench.reference_trace)
    witnesses = (
        _Witness(bench, None, definition, bench.judge_trace),
        _Witness(bench, subject, definition, bench.trace(subject), reference),
    )
    return _first_forward(witnesses, bench.pixels)


def loss(bench: Bench, subject: Subject) -> Culprit | None:
    """What is off in the loss: an operation of the net in training, or the loss itself."""
    witnesses = _in_training(bench, subject)
    found = _first_forward(witnesses, bench.training_pixels)
    return found or next((c for w in witnesses if (c := _loss(bench, w))), None)


def statistics(bench: Bench, subject: Subject) -> Culprit | None:
    """Which batch norm moves its running statistics wrongly."""
    witnesses = _in_training(bench, subject)
    found = _first_forward(witnesses, bench.training_pixels)
    return found or next((c for w in witnesses if (c := _statistics(w))), None)


def backward(bench: Bench, subject: Subject) -> Culprit | None:
    """The first operation that is off in training: forward, or the way gradients flow."""
    witnesses = _in_training(bench, subject)
    found = _first_forward(witnesses, bench.training_pixels)
    found = found or next((c for w in witnesses if (c := _loss_gradient(bench, w))), None)
    if found:
        return found
    for name in reversed(witnesses[0].definition.children(NET)):
        for witness in witnesses:
            culprit = _unit_backward(witness, name)
            if culprit:
                return culprit
    return None


def _in_training(bench: Bench, subject: Subject) -> tuple[_Witness, _Witness]:
    definition = Definition(bench.spec, bench.state)

    def flow(twin: Backend, net: Any, mode: str) -> Any:
        images, labels = bench.training_pixels, bench.labels
        return twin.probe.flow(net, images, labels, LABEL_SMOOTHING, mode)

    reference = _Witness(
        bench, bench.reference, definition,
        flow(bench.judge, bench.build(bench.reference), bench.reference.mode),
        gradients=bench.reference_gradients[0],
    )  # fmt: skip
    candidate = _Witness(
        bench, subject, definition,
        flow(bench.twin(subject), bench.build(subject), subject.mode),
        reference, bench.gradients(subject),
    )  # fmt: skip
    judge = _Witness(bench, None, definition, bench.judge_flow, gradients=bench.judge_gradients)
    return judge, candidate


class _Witness:
    # A twin's layers as they were in one run. Without a subject it is the judge, whose float64
    # has no rounding that comes near one of float32.
    def __init__(
        self,
        bench: Bench,
        subject: Subject | None,
        definition: Definition,
        layers: Mapping[str, Any],
        reference: _Witness | None = None,
        gradients: Any = None,
    ):
        self.bench = bench
        self.subject = subject
        self.definition = definition
        self.layers = layers
        self.reference = reference
        self.gradients = gradients
        self.training = gradients is not None
        self.framework = subject.framework if subject else bench.judge.name
        self._runs: dict[str, Run] = {}

    @property
    def name(self) -> str:
        return str(self.subject) if self.subject else f"{self.framework} in float64"

    def run(self, name: str) -> Run:
        """What a layer must make of what it was given here."""
        if name not in self._runs:
            item = self.layers[name]

            def upstream(output: Array) -> Array:
                return item.gradient

            self._runs[name] = self.definition.run(
                name, item.input, upstream if self.training else None, self.training
            )
        return self._runs[name]

    def alone(self, name: str) -> tuple[Array, Array]:
        """The gradient for a layer's input when the layer runs alone, and what it must be."""
        twin, item = load_backend(self.framework), self.layers[name]
        subject = self.subject or dataclasses.replace(self.bench.reference, precision="float64")
        net = self.bench.build(subject)
        found = twin.probe.backward(net, {name: (item.input, item.gradient)}, subject.mode)
        return found[name].input, self.run(name).input

    def compare(
        self, where: str, found: Array | None, truth: Array, noise: float, quantity: str,
        scale: float | None = None,
    ) -> Evidence:  # fmt: skip
        """Holds numbers against the truth; ``noise`` is the reference's error at this place."""
        limit = ROUNDOFF
        if self.subject is None:
            noise = ROUNDOFF
        else:
            bound = self.bench.bound(quantity, self.subject)
            noise = bound.noise(noise, where)
            limit = bound.factor * noise
        return compare_within(self.name, where, found, truth, noise, limit, quantity, scale)

    def output(self, name: str) -> Evidence:
        """How far a layer's output is from what it must be."""
        noise = 0.0
        if self.reference and name in self.reference.layers:
            reference = self.reference
            noise = relative_error(reference.layers[name].output, reference.run(name).output)
        found, truth = self.layers[name].output, self.run(name).output
        return self.compare(name, found, truth, noise, layer_quantity(name, self.bench.spec))


# Forward


def _first_forward(witnesses: tuple[_Witness, ...], images: Array) -> Culprit | None:
    given = [images for _ in witnesses]
    for name in witnesses[0].definition.children(NET):
        for index, witness in enumerate(witnesses):
            found = _unit_forward(witness, NET, name, given[index])
            if found:
                return found
            given[index] = witness.layers[name].output
    return None


def _unit_forward(witness: _Witness, parent: str, name: str, given: Array) -> Culprit | None:
    wiring = sources.composite(witness.framework, parent, witness.bench.spec)
    if name not in witness.layers:
        missing = compare_within(witness.name, name, None, given, 0.0, 0.0, "layer")
        return Culprit(
            name, parent, f"{sources.operation(name)}, left out", "forward", wiring, missing,
            f"{name} is never applied: {_whole(parent)} passes over it.",
        )  # fmt: skip
    item = witness.layers[name]
    passed_on = witness.compare(name, item.input, given, 0.0, "layer")
    if not passed_on.passed:
        return Culprit(
            name, parent, f"what {sources.operation(name)} is given", "forward", wiring, passed_on,
            f"{name} is not given what comes before it: {_whole(parent)} is wired otherwise.",
        )  # fmt: skip
    evidence = witness.output(name)
    if evidence.passed:
        return None
    children = witness.definition.children(name)
    if not children:
        return _leaf(witness, name, evidence)
    given = item.input
    if name.endswith(".se"):
        given = operations.mean(given, keepdims=True)
    for child in children:
        found = _unit_forward(witness, name, child, _given(witness, name, child, given))
        if found:
            return found
        if not child.endswith(".downsample"):
            given = witness.layers[child].output
    kinds = {"squeeze-excite": "gating", "projection": "projection"}
    what = kinds.get(sources.operation(name), "residual sum")
    return Culprit(
        name, name, what, "forward", sources.composite(witness.framework, name, witness.bench.spec),
        evidence,
        f"Every layer within {name} is right, but not what it makes of their results: the {what}.",
    )  # fmt: skip


def _given(witness: _Witness, name: str, child: str, before: Array) -> Array:
    # In a ResNet's block the projection is given what the block is, and the last activation the
    # sum; any other layer what the one before it returned.
    if child.endswith(".downsample"):
        return witness.layers[name].input
    if name not in witness.definition.rows or not witness.bench.spec.is_resnet:
        return before
    if child != witness.definition.children(name)[-1]:
        return before
    projection = f"{name}.downsample"
    projected = projection in witness.definition.children(name)
    shortcut = witness.layers[projection].output if projected else witness.layers[name].input
    return shortcut + before


def _leaf(witness: _Witness, name: str, evidence: Evidence) -> Culprit:
    # Which others of its kind are off tells a builder from one place that it is called at.
    known = [other for other in witness.definition.names if other in witness.layers]
    kind = sources.same_kind(name, known)
    off = [other for other in kind if not witness.output(other).passed]
    source = sources.of_layers(witness.framework, off, kind, witness.bench.spec)
    source = _of_names(witness, name) or source
    share = "every one" if len(off) == len(kind) else f"{len(off)} of {len(kind)}"
    return Culprit(
        name, name, sources.operation(name), "forward", source, evidence,
        f"{name} alone, given the same input, computes something else than "
        f"{sources.operation(name)} by its definition; so does {share} of its kind.",
    )  # fmt: skip


def _of_names(witness: _Witness, name: str) -> Source | None:
    # Right numbers under wrong names: would the layer be right with its tensors exchanged?
    definition, item = witness.definition, witness.layers[name]
    keys = [key for key in definition.state if key.rpartition(".")[0] == name]
    for one, other in ((a, b) for i, a in enumerate(keys) for b in keys[i + 1 :]):
        state = {**definition.state, one: definition.state[other], other: definition.state[one]}
        if state[one].shape != state[other].shape or (state[one] == state[other]).all():
            continue
        with np.errstate(invalid="ignore"):
            truth = Definition(definition.spec, state).run(
                name, item.input, training=witness.training
            )
        if witness.compare(name, item.output, truth.output, 0.0, "layer").passed:
            # What both twins' names are made of stands in the manifest; PyTorch's are its keys.
            if witness.framework == witness.bench.judge.name:
                return sources.in_twin(witness.framework, "state", "write_state")
            return Source("tinynet/net/manifest.py", "MINDSPORE_LEAVES")
    return None


# Loss and statistics


def _loss(bench: Bench, witness: _Witness) -> Culprit | None:
    def error(of: _Witness) -> tuple[Array, Array]:
        logits = of.layers[bench.spec.names.classifier].output
        truth = operations.cross_entropy(logits, bench.labels, LABEL_SMOOTHING)
        return np.array(of.gradients.loss), np.array(truth)

    noise = relative_error(*error(witness.reference)) if witness.reference else 0.0
    evidence = witness.compare("loss", *error(witness), noise, "loss")
    if evidence.passed:
        return None
    return Culprit(
        "loss", NET, "cross entropy", "forward",
        sources.in_twin(witness.framework, "loss", "cross_entropy"), evidence,
        "The logits are right, but not the loss that is made of them.",
    )  # fmt: skip


def _loss_gradient(bench: Bench, witness: _Witness) -> Culprit | None:
    def error(of: _Witness) -> tuple[Array, Array]:
        item = of.layers[bench.spec.names.classifier]
        smoothing = LABEL_SMOOTHING
        truth = operations.cross_entropy_vjp(1.0, item.output, bench.labels, smoothing)
        return item.gradient, truth

    noise = relative_error(*error(witness.reference)) if witness.reference else 0.0
    evidence = witness.compare("loss", *error(witness), noise, _quantity(witness))
    if evidence.passed:
        return None
    return Culprit(
        "loss", NET, "cross entropy", "backward",
        sources.in_twin(witness.framework, "loss", "cross_entropy"), evidence,
        "The loss is right, but not its gradient for the logits.",
    )  # fmt: skip


def _statistics(witness: _Witness) -> Culprit | None:
    def error(of: _Witness, key: str) -> tuple[Array, Array, float | None]:
        truths = of.run(key.rpartition(".")[0]).statistics
        return of.gradients.statistics[key], truths[key], statistic_scale(key, truths)

    def judged(key: str) -> Evidence:
        noise = relative_error(*error(witness.reference, key)) if witness.reference else 0.0
        found, truth, scale = error(witness, key)
        return witness.compare(key, found, truth, noise, "statistics", scale)

    entries = manifest(witness.bench.spec).items()
    keys = [key for key, entry in entries if entry.role not in TRAINED_ROLES]
    off = {key: evidence for key in keys if not (evidence := judged(key)).passed}
    if not off:
        return None
    first = next(iter(off))
    layers = {key.rpartition(".")[0] for key in keys}
    source = sources.of_layers(
        witness.framework, {key.rpartition(".")[0] for key in off}, layers, witness.bench.spec
    )
    return Culprit(
        first, first.rpartition(".")[0], "running statistics of batch norm", "forward", source,
        off[first],
        f"The batch is normalised as it should be, but {first} does not move by the momentum "
        f"towards the batch's; neither do {len(off) - 1} others of {len(keys)}.",
    )  # fmt: skip


# Backward


def _unit_backward(witness: _Witness, name: str) -> Culprit | None:
    # Within a layer from its end to its start: gradients of what the layers in it return, of
    # their parameters, and last of what goes on to the layer before.
    inner = [child for child in witness.run(name).layers if child != name]
    for child in reversed(inner):
        evidence = _gradient(witness, name, child, _of_output(child))
        if not evidence.passed:
            return _consumer(witness, name, child, evidence)
    for key in reversed(witness.run(name).parameters):
        evidence = _gradient(witness, name, key, _of_parameter(key))
        if not evidence.passed:
            layer = key.rpartition(".")[0]
            return Culprit(
                key, name, f"gradient of {sources.operation(layer)}", "backward",
                sources.builder(witness.framework, layer), evidence,
                f"The gradient that reaches {layer} is right, but not what it makes of it for "
                f"{key}.",
            )  # fmt: skip
    evidence = _gradient(witness, name, f"{name} input", _of_input(name))
    if evidence.passed:
        return None
    if _alone_is_right(witness, name):
        return _cut(witness, NET, NET, name, evidence)
    children = witness.definition.children(name)
    if not children:
        return _backward_of(witness, name, name, evidence)
    is_sum = witness.definition.rows[name].has_skip or witness.bench.spec.is_resnet
    if is_sum and _alone_is_right(witness, children[0]):
        return _cut(witness, name, name, f"the skip of {name}", evidence)
    return _backward_of(witness, name, children[0], evidence)


def _consumer(witness: _Witness, unit: str, name: str, evidence: Evidence) -> Culprit:
    # The gradient of what a layer returns is made by who takes it.
    parent = name.rpartition(".")[0]
    children = witness.definition.children(parent)
    place = children.index(name)
    if place == len(children) - 1:
        return _cut(witness, unit, parent, name, evidence)
    following = children[place + 1]
    if following.endswith(".downsample"):
        following = children[-1]
    if witness.definition.children(following):
        return _cut(witness, unit, following, name, evidence)
    if _alone_is_right(witness, following):
        return _cut(witness, unit, parent, name, evidence)
    return _backward_of(witness, unit, following, evidence)


def _cut(witness: _Witness, unit: str, parent: str, name: str, evidence: Evidence) -> Culprit:
    return Culprit(
        name if name in witness.layers else unit, unit, "gradient on its way back", "backward",
        sources.composite(witness.framework, parent, witness.bench.spec), evidence,
        f"Forward everything is right; back, the gradient is lost or scaled on its way through "
        f"{_whole(parent)} to {name}.",
    )  # fmt: skip


def _backward_of(witness: _Witness, unit: str, name: str, evidence: Evidence) -> Culprit:
    return Culprit(
        name, unit, f"gradient of {sources.operation(name)}", "backward",
        sources.builder(witness.framework, name), evidence,
        f"The gradient that reaches {name} is right, but not the one that it passes on.",
    )  # fmt: skip


def _alone_is_right(witness: _Witness, name: str) -> bool:
    found, truth = witness.alone(name)
    return witness.compare(name, found, truth, 0.0, _quantity(witness)).passed


# A witness and what a layer of it must give -> the gradient that is there, and the right one.
_Pair = Callable[[_Witness, Run], tuple[Array | None, Array]]


def _of_output(name: str) -> _Pair:
    return lambda witness, run: (witness.layers[name].gradient, run.layers[name].gradient)


def _of_parameter(key: str) -> _Pair:
    return lambda witness, run: (witness.gradients.parameters.get(key), run.parameters[key])


def _of_input(name: str) -> _Pair:
    def pair(witness: _Witness, run: Run) -> tuple[Array, Array]:
        units = witness.definition.children(NET)
        place = units.index(name)
        # What goes into a layer is what the one before it returned, and the pixels.
        if place == 0:
            return witness.gradients.input, run.input
        return witness.layers[units[place - 1]].gradient, run.input

    return pair


def _gradient(witness: _Witness, unit: str, where: str, pair: _Pair) -> Evidence:
    def of(each: _Witness) -> tuple[Array | None, Array, float | None]:
        run = each.run(unit)
        found, truth = pair(each, run)
        whole = whole_norm(map(norm, run.parameters.values()))
        return found, truth, gradient_scale(norm(truth), whole)

    noise = 0.0
    if witness.reference:
        value, right, scale = of(witness.reference)
        noise = relative_error(value, right, scale) if value is not None else noise
    found, truth, scale = of(witness)
    return witness.compare(where, found, truth, noise, _quantity(witness), scale)


def _quantity(witness: _Witness) -> str:
    return "gradient, kinked alone" if witness.bench.kinked else "gradient, isolated"


def _whole(name: str) -> str:
    return name or "the net"
