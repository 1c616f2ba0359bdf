"""From a whole net that is off to the one operation that is, forward or back, in either twin.

Each twin is held against the definition on *its own* numbers: what a layer was given there and
what it returned. So a layer answers for itself only, whatever those before it did, and PyTorch,
the reference of everything else, is a suspect like the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from tinynet.backend import Backend, load_backend
from tinynet.net.manifest import TRAINED_ROLES, manifest

from parity.context import LABEL_SMOOTHING, Candidate, Context
from parity.distances import Array, compare_within, norm, relative_error
from parity.reference import operations
from parity.reference.net import ReferenceNet, Run
from parity.reference.structure import NET
from parity.results import Comparison
from parity.tolerances.bounds import ROUNDOFF
from parity.tolerances.quantities import gradient_scale, layer_quantity, statistic_scale, whole_norm
from parity.tracing import sources
from parity.tracing.sources import Source

Direction = Literal["forward", "backward", ""]


class Suspect(NamedTuple):
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
    comparison: Comparison
    explanation: str


def forward(context: Context, candidate: Candidate) -> Suspect | None:
    """The first operation that is off in evaluation, in the way data flows."""
    definition = ReferenceNet(context.spec, context.state)
    baseline = _LayerTrace(context, context.baseline, definition, context.baseline_trace)
    layer_traces = (
        _LayerTrace(context, None, definition, context.reference_trace),
        _LayerTrace(context, candidate, definition, context.trace(candidate), baseline),
    )
    return _first_forward(layer_traces, context.pixels)


def loss(context: Context, candidate: Candidate) -> Suspect | None:
    """What is off in the loss: an operation of the net in training, or the loss itself."""
    layer_traces = _in_training(context, candidate)
    found = _first_forward(layer_traces, context.training_pixels)
    return found or next((c for w in layer_traces if (c := _loss(context, w))), None)


def statistics(context: Context, candidate: Candidate) -> Suspect | None:
    """Which batch norm moves its running statistics wrongly."""
    layer_traces = _in_training(context, candidate)
    found = _first_forward(layer_traces, context.training_pixels)
    return found or next((c for w in layer_traces if (c := _statistics(w))), None)


def backward(context: Context, candidate: Candidate) -> Suspect | None:
    """The first operation that is off in training: forward, or the way gradients flow."""
    layer_traces = _in_training(context, candidate)
    found = _first_forward(layer_traces, context.training_pixels)
    found = found or next((c for w in layer_traces if (c := _loss_gradient(context, w))), None)
    if found:
        return found
    for name in reversed(layer_traces[0].definition.children(NET)):
        for layer_trace in layer_traces:
            suspect = _unit_backward(layer_trace, name)
            if suspect:
                return suspect
    return None


def _in_training(context: Context, candidate: Candidate) -> tuple[_LayerTrace, _LayerTrace]:
    definition = ReferenceNet(context.spec, context.state)

    def flow(twin: Backend, net: Any, mode: str) -> Any:
        images, labels = context.training_pixels, context.labels
        return twin.probe.flow(net, images, labels, LABEL_SMOOTHING, mode)

    baseline = _LayerTrace(
        context, context.baseline, definition,
        flow(context.reference, context.build(context.baseline), context.baseline.mode),
        gradients=context.baseline_gradients[0],
    )  # fmt: skip
    found = _LayerTrace(
        context, candidate, definition,
        flow(context.twin(candidate), context.build(candidate), candidate.mode),
        baseline, context.gradients(candidate),
    )  # fmt: skip
    reference = _LayerTrace(
        context, None, definition, context.reference_flow, gradients=context.reference_gradients
    )
    return reference, found


class _LayerTrace:
    # A twin's layers as they were in one run. Without a candidate it is the reference, whose
    # float64 has no rounding that comes near one of float32.
    def __init__(
        self,
        context: Context,
        candidate: Candidate | None,
        definition: ReferenceNet,
        layers: Mapping[str, Any],
        baseline: _LayerTrace | None = None,
        gradients: Any = None,
    ):
        self.context = context
        self.candidate = candidate
        self.definition = definition
        self.layers = layers
        self.baseline = baseline
        self.gradients = gradients
        self.training = gradients is not None
        self.framework = candidate.framework if candidate else context.reference.name
        self._runs: dict[str, Run] = {}

    @property
    def name(self) -> str:
        return str(self.candidate) if self.candidate else f"{self.framework} in float64"

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
        candidate = self.candidate or dataclasses.replace(
            self.context.baseline, precision="float64"
        )
        net = self.context.build(candidate)
        found = twin.probe.backward(net, {name: (item.input, item.gradient)}, candidate.mode)
        return found[name].input, self.run(name).input

    def compare(
        self, where: str, found: Array | None, truth: Array, noise: float, quantity: str,
        scale: float | None = None,
    ) -> Comparison:  # fmt: skip
        """Holds numbers against the truth; ``noise`` is the baseline's error at this place."""
        limit = ROUNDOFF
        if self.candidate is None:
            noise = ROUNDOFF
        else:
            bound = self.context.bound(quantity, self.candidate)
            noise = bound.noise(noise, where)
            limit = bound.factor * noise
        return compare_within(self.name, where, found, truth, noise, limit, quantity, scale)

    def output(self, name: str) -> Comparison:
        """How far a layer's output is from what it must be."""
        noise = 0.0
        if self.baseline and name in self.baseline.layers:
            baseline = self.baseline
            noise = relative_error(baseline.layers[name].output, baseline.run(name).output)
        found, truth = self.layers[name].output, self.run(name).output
        return self.compare(name, found, truth, noise, layer_quantity(name, self.context.spec))


# Forward


def _first_forward(layer_traces: tuple[_LayerTrace, ...], images: Array) -> Suspect | None:
    given = [images for _ in layer_traces]
    for name in layer_traces[0].definition.children(NET):
        for index, layer_trace in enumerate(layer_traces):
            found = _unit_forward(layer_trace, NET, name, given[index])
            if found:
                return found
            given[index] = layer_trace.layers[name].output
    return None


def _unit_forward(layer_trace: _LayerTrace, parent: str, name: str, given: Array) -> Suspect | None:
    wiring = sources.composite(layer_trace.framework, parent, layer_trace.context.spec)
    if name not in layer_trace.layers:
        missing = compare_within(layer_trace.name, name, None, given, 0.0, 0.0, "layer")
        return Suspect(
            name, parent, f"{sources.operation(name)}, left out", "forward", wiring, missing,
            f"{name} is never applied: {_whole(parent)} passes over it.",
        )  # fmt: skip
    item = layer_trace.layers[name]
    passed_on = layer_trace.compare(name, item.input, given, 0.0, "layer")
    if not passed_on.passed:
        return Suspect(
            name, parent, f"what {sources.operation(name)} is given", "forward", wiring, passed_on,
            f"{name} is not given what comes before it: {_whole(parent)} is wired otherwise.",
        )  # fmt: skip
    comparison = layer_trace.output(name)
    if comparison.passed:
        return None
    children = layer_trace.definition.children(name)
    if not children:
        return _leaf(layer_trace, name, comparison)
    given = item.input
    if name.endswith(".se"):
        given = operations.mean(given, keepdims=True)
    for child in children:
        found = _unit_forward(layer_trace, name, child, _given(layer_trace, name, child, given))
        if found:
            return found
        if not child.endswith(".downsample"):
            given = layer_trace.layers[child].output
    kinds = {"squeeze-excite": "gating", "projection": "projection"}
    what = kinds.get(sources.operation(name), "residual sum")
    return Suspect(
        name, name, what, "forward", sources.composite(layer_trace.framework, name,
        layer_trace.context.spec), comparison,
        f"Every layer within {name} is right, but not what it makes of their results: the {what}.",
    )  # fmt: skip


def _given(layer_trace: _LayerTrace, name: str, child: str, before: Array) -> Array:
    # In a ResNet's block the projection is given what the block is, and the last activation the
    # sum; any other layer what the one before it returned.
    if child.endswith(".downsample"):
        return layer_trace.layers[name].input
    if name not in layer_trace.definition.rows or not layer_trace.context.spec.is_resnet:
        return before
    if child != layer_trace.definition.children(name)[-1]:
        return before
    projection = f"{name}.downsample"
    projected = projection in layer_trace.definition.children(name)
    shortcut = (
        layer_trace.layers[projection].output if projected else layer_trace.layers[name].input
    )
    return shortcut + before


def _leaf(layer_trace: _LayerTrace, name: str, comparison: Comparison) -> Suspect:
    # Which others of its kind are off tells a builder from one place that it is called at.
    known = [other for other in layer_trace.definition.names if other in layer_trace.layers]
    kind = sources.same_kind(name, known)
    off = [other for other in kind if not layer_trace.output(other).passed]
    source = sources.of_layers(layer_trace.framework, off, kind, layer_trace.context.spec)
    source = _of_names(layer_trace, name) or source
    share = "every one" if len(off) == len(kind) else f"{len(off)} of {len(kind)}"
    return Suspect(
        name, name, sources.operation(name), "forward", source, comparison,
        f"{name} alone, given the same input, computes something else than "
        f"{sources.operation(name)} by its definition; so does {share} of its kind.",
    )  # fmt: skip


def _of_names(layer_trace: _LayerTrace, name: str) -> Source | None:
    # Right numbers under wrong names: would the layer be right with its tensors exchanged?
    definition, item = layer_trace.definition, layer_trace.layers[name]
    keys = [key for key in definition.state if key.rpartition(".")[0] == name]
    for one, other in ((a, b) for i, a in enumerate(keys) for b in keys[i + 1 :]):
        state = {**definition.state, one: definition.state[other], other: definition.state[one]}
        if state[one].shape != state[other].shape or (state[one] == state[other]).all():
            continue
        with np.errstate(invalid="ignore"):
            truth = ReferenceNet(definition.spec, state).run(
                name, item.input, training=layer_trace.training
            )
        if layer_trace.compare(name, item.output, truth.output, 0.0, "layer").passed:
            # What both twins' names are made of stands in the manifest; PyTorch's are its keys.
            if layer_trace.framework == layer_trace.context.reference.name:
                return sources.in_twin(layer_trace.framework, "model", "write_state")
            return Source("tinynet/net/manifest.py", "MINDSPORE_LEAVES")
    return None


# Loss and statistics


def _loss(context: Context, layer_trace: _LayerTrace) -> Suspect | None:
    def error(of: _LayerTrace) -> tuple[Array, Array]:
        logits = of.layers[context.spec.names.classifier].output
        truth = operations.cross_entropy(logits, context.labels, LABEL_SMOOTHING)
        return np.array(of.gradients.loss), np.array(truth)

    noise = relative_error(*error(layer_trace.baseline)) if layer_trace.baseline else 0.0
    comparison = layer_trace.compare("loss", *error(layer_trace), noise, "loss")
    if comparison.passed:
        return None
    return Suspect(
        "loss", NET, "cross entropy", "forward",
        sources.in_twin(layer_trace.framework, "loss", "cross_entropy"), comparison,
        "The logits are right, but not the loss that is made of them.",
    )  # fmt: skip


def _loss_gradient(context: Context, layer_trace: _LayerTrace) -> Suspect | None:
    def error(of: _LayerTrace) -> tuple[Array, Array]:
        item = of.layers[context.spec.names.classifier]
        smoothing = LABEL_SMOOTHING
        truth = operations.cross_entropy_vjp(1.0, item.output, context.labels, smoothing)
        return item.gradient, truth

    noise = relative_error(*error(layer_trace.baseline)) if layer_trace.baseline else 0.0
    comparison = layer_trace.compare("loss", *error(layer_trace), noise, _quantity(layer_trace))
    if comparison.passed:
        return None
    return Suspect(
        "loss", NET, "cross entropy", "backward",
        sources.in_twin(layer_trace.framework, "loss", "cross_entropy"), comparison,
        "The loss is right, but not its gradient for the logits.",
    )  # fmt: skip


def _statistics(layer_trace: _LayerTrace) -> Suspect | None:
    def error(of: _LayerTrace, key: str) -> tuple[Array, Array, float | None]:
        truths = of.run(key.rpartition(".")[0]).statistics
        return of.gradients.statistics[key], truths[key], statistic_scale(key, truths)

    def compared(key: str) -> Comparison:
        noise = relative_error(*error(layer_trace.baseline, key)) if layer_trace.baseline else 0.0
        found, truth, scale = error(layer_trace, key)
        return layer_trace.compare(key, found, truth, noise, "statistics", scale)

    entries = manifest(layer_trace.context.spec).items()
    keys = [key for key, entry in entries if entry.role not in TRAINED_ROLES]
    off = {key: comparison for key in keys if not (comparison := compared(key)).passed}
    if not off:
        return None
    first = next(iter(off))
    layers = {key.rpartition(".")[0] for key in keys}
    source = sources.of_layers(
        layer_trace.framework,
        {key.rpartition(".")[0] for key in off},
        layers,
        layer_trace.context.spec,
    )
    return Suspect(
        first, first.rpartition(".")[0], "running statistics of batch norm", "forward", source,
        off[first],
        f"The batch is normalised as it should be, but {first} does not move by the momentum "
        f"towards the batch's; neither do {len(off) - 1} others of {len(keys)}.",
    )  # fmt: skip


# Backward


def _unit_backward(layer_trace: _LayerTrace, name: str) -> Suspect | None:
    # Within a layer from its end to its start: gradients of what the layers in it return, of
    # their parameters, and last of what goes on to the layer before.
    inner = [child for child in layer_trace.run(name).layers if child != name]
    for child in reversed(inner):
        comparison = _gradient(layer_trace, name, child, _of_output(child))
        if not comparison.passed:
            return _consumer(layer_trace, name, child, comparison)
    for key in reversed(layer_trace.run(name).parameters):
        comparison = _gradient(layer_trace, name, key, _of_parameter(key))
        if not comparison.passed:
            layer = key.rpartition(".")[0]
            return Suspect(
                key, name, f"gradient of {sources.operation(layer)}", "backward",
                sources.builder(layer_trace.framework, layer), comparison,
                f"The gradient that reaches {layer} is right, but not what it makes of it for "
                f"{key}.",
            )  # fmt: skip
    comparison = _gradient(layer_trace, name, f"{name} input", _of_input(name))
    if comparison.passed:
        return None
    if _alone_is_right(layer_trace, name):
        return _cut(layer_trace, NET, NET, name, comparison)
    children = layer_trace.definition.children(name)
    if not children:
        return _backward_of(layer_trace, name, name, comparison)
    is_sum = layer_trace.definition.rows[name].has_skip or layer_trace.context.spec.is_resnet
    if is_sum and _alone_is_right(layer_trace, children[0]):
        return _cut(layer_trace, name, name, f"the skip of {name}", comparison)
    return _backward_of(layer_trace, name, children[0], comparison)


def _consumer(layer_trace: _LayerTrace, unit: str, name: str, comparison: Comparison) -> Suspect:
    # The gradient of what a layer returns is made by who takes it.
    parent = name.rpartition(".")[0]
    children = layer_trace.definition.children(parent)
    place = children.index(name)
    if place == len(children) - 1:
        return _cut(layer_trace, unit, parent, name, comparison)
    following = children[place + 1]
    if following.endswith(".downsample"):
        following = children[-1]
    if layer_trace.definition.children(following):
        return _cut(layer_trace, unit, following, name, comparison)
    if _alone_is_right(layer_trace, following):
        return _cut(layer_trace, unit, parent, name, comparison)
    return _backward_of(layer_trace, unit, following, comparison)


def _cut(
    layer_trace: _LayerTrace, unit: str, parent: str, name: str, comparison: Comparison
) -> Suspect:
    return Suspect(
        name if name in layer_trace.layers else unit, unit, "gradient on its way back", "backward",
        sources.composite(layer_trace.framework, parent, layer_trace.context.spec), comparison,
        f"Forward everything is right; back, the gradient is lost or scaled on its way through "
        f"{_whole(parent)} to {name}.",
    )  # fmt: skip


def _backward_of(layer_trace: _LayerTrace, unit: str, name: str, comparison: Comparison) -> Suspect:
    return Suspect(
        name, unit, f"gradient of {sources.operation(name)}", "backward",
        sources.builder(layer_trace.framework, name), comparison,
        f"The gradient that reaches {name} is right, but not the one that it passes on.",
    )  # fmt: skip


def _alone_is_right(layer_trace: _LayerTrace, name: str) -> bool:
    found, truth = layer_trace.alone(name)
    return layer_trace.compare(name, found, truth, 0.0, _quantity(layer_trace)).passed


# A witness and what a layer of it must give -> the gradient that is there, and the right one.
_Pair = Callable[[_LayerTrace, Run], tuple[Array | None, Array]]


def _of_output(name: str) -> _Pair:
    return lambda layer_trace, run: (layer_trace.layers[name].gradient, run.layers[name].gradient)


def _of_parameter(key: str) -> _Pair:
    return lambda layer_trace, run: (layer_trace.gradients.parameters.get(key), run.parameters[key])


def _of_input(name: str) -> _Pair:
    def pair(layer_trace: _LayerTrace, run: Run) -> tuple[Array, Array]:
        units = layer_trace.definition.children(NET)
        place = units.index(name)
        # What goes into a layer is what the one before it returned, and the pixels.
        if place == 0:
            return layer_trace.gradients.input, run.input
        return layer_trace.layers[units[place - 1]].gradient, run.input

    return pair


def _gradient(layer_trace: _LayerTrace, unit: str, where: str, pair: _Pair) -> Comparison:
    def of(each: _LayerTrace) -> tuple[Array | None, Array, float | None]:
        run = each.run(unit)
        found, truth = pair(each, run)
        whole = whole_norm(map(norm, run.parameters.values()))
        return found, truth, gradient_scale(norm(truth), whole)

    noise = 0.0
    if layer_trace.baseline:
        value, right, scale = of(layer_trace.baseline)
        noise = relative_error(value, right, scale) if value is not None else noise
    found, truth, scale = of(layer_trace)
    return layer_trace.compare(where, found, truth, noise, _quantity(layer_trace), scale)


def _quantity(layer_trace: _LayerTrace) -> str:
    return "gradient, kinked alone" if layer_trace.context.non_smooth else "gradient, isolated"


def _whole(name: str) -> str:
    return name or "the net"
