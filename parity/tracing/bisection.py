"""From a whole net that is off to the one operation that is, forward or back, in either twin.

Each twin is compared with the definition on *its own* numbers: what a layer was given there and
what it returned. So a layer answers for itself only, whatever those before it did, and PyTorch,
the reference of everything else, is a suspect like the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np

from tinynet.backend import REFERENCE, load_backend
from tinynet.net.manifest import TRAINED_ROLES, manifest

from parity.candidates import Candidate
from parity.context import LABEL_SMOOTHING, Context
from parity.distances import Array, compare_within, norm
from parity.reference import operations
from parity.reference.net import ReferenceNet, Run
from parity.reference.structure import NET
from parity.results import Comparison
from parity.tolerances.quantities import gradient_scale, statistic_scale, whole_norm
from parity.tracing import sources
from parity.tracing.layer_trace import LayerTrace, Pair, in_evaluation, in_training
from parity.tracing.sources import Source
from parity.tracing.suspect import Direction, Suspect

_Traces = tuple[LayerTrace, LayerTrace]


def forward(context: Context, candidate: Candidate) -> Suspect | None:
    """Finds the first operation that is off in evaluation, in the way data flows."""
    return _first_forward(in_evaluation(context, candidate), context.pixels)


def loss(context: Context, candidate: Candidate) -> Suspect | None:
    """Finds what is off in the loss: an operation of the net in training, or the loss itself."""
    return _forward_in_training(context, candidate, _loss)


def statistics(context: Context, candidate: Candidate) -> Suspect | None:
    """Finds the batch norm that moves its running statistics wrongly."""
    return _forward_in_training(context, candidate, _statistics)


def _forward_in_training(
    context: Context, candidate: Candidate, last: Callable[[LayerTrace], Suspect | None]
) -> Suspect | None:
    traces = in_training(context, candidate)
    found = _first_forward(traces, context.training_pixels) or _first(last, traces)
    return found and found._replace(in_training=True)


def backward(context: Context, candidate: Candidate) -> Suspect | None:
    """Finds the first operation that is off in training: forward, or the way gradients flow."""
    traces = in_training(context, candidate)
    found = _first_forward(traces, context.training_pixels) or _first(
        partial(_loss, direction="backward"), traces
    )
    units = reversed(traces[0].definition.children(NET))
    parts = (_unit_backward(trace, name) for name in units for trace in traces)
    return found or next(filter(None, parts), None)


def _first(part: Callable[[LayerTrace], Suspect | None], traces: _Traces) -> Suspect | None:
    return next(filter(None, map(part, traces)), None)


# Forward


def _first_forward(traces: _Traces, images: Array) -> Suspect | None:
    given = [images for _ in traces]
    for name in traces[0].definition.children(NET):
        for index, trace in enumerate(traces):
            found = _unit_forward(trace, NET, name, given[index])
            if found:
                return found
            given[index] = trace.layers[name].output
    return None


def _unit_forward(trace: LayerTrace, parent: str, name: str, given: Array) -> Suspect | None:
    spec, what = trace.context.spec, sources.operation(name)
    wiring = sources.composite(trace.framework, parent, spec)
    if name not in trace.layers:
        missing = compare_within(trace.name, name, None, given, 0.0, 0.0, "layer")
        explanation = f"{name} is never applied: {_whole(parent)} passes over it."
        left_out = f"{what}, left out"
        return Suspect(name, left_out, wiring, missing, explanation, parent, "forward")
    item = trace.layers[name]
    passed_on = trace.compare(name, item.input, given, 0.0, "layer")
    if not passed_on.passed:
        wrong = f"{name} is not given what comes before it: {_whole(parent)} is wired wrongly."
        given_to = f"what {what} is given"
        return Suspect(name, given_to, wiring, passed_on, wrong, parent, "forward")
    comparison = trace.output(name)
    if comparison.passed:
        return None
    children = trace.definition.children(name)
    if not children:
        return _leaf(trace, name, comparison)
    given = item.input
    if name.endswith(".se"):
        given = operations.mean(given, keepdims=True)
    for child in children:
        found = _unit_forward(trace, name, child, _given(trace, name, child, given))
        if found:
            return found
        if not child.endswith(".downsample"):
            given = trace.layers[child].output
    kinds = {"squeeze-excite": "gating", "projection": "projection"}
    what = kinds.get(what, "residual sum")
    source = sources.composite(trace.framework, name, spec)
    explanation = f"Every layer within {name} is right, but its {what} of their results is not."
    return Suspect(name, what, source, comparison, explanation, name, "forward")


def _given(trace: LayerTrace, name: str, child: str, before: Array) -> Array:
    # In a ResNet's block the projection is given what the block is, and the last activation the
    # sum; any other layer what the one before it returned.
    layers, children = trace.layers, trace.definition.children(name)
    if child.endswith(".downsample"):
        return layers[name].input
    is_resnet = trace.context.spec.is_resnet and name in trace.definition.rows
    if not is_resnet or child != children[-1]:
        return before
    projection = f"{name}.downsample"
    shortcut = layers[projection].output if projection in children else layers[name].input
    return shortcut + before


def _leaf(trace: LayerTrace, name: str, comparison: Comparison) -> Suspect:
    # Which others of its kind are off tells a builder from one place that it is called at.
    known = [other for other in trace.definition.names if other in trace.layers]
    kind = sources.same_kind(name, known)
    off = [other for other in kind if not trace.output(other).passed]
    source = sources.of_layers(trace.framework, off, kind, trace.context.spec)
    source = _of_names(trace, name) or source
    what = sources.operation(name)
    share = "every one" if len(off) == len(kind) else f"{len(off)} of {len(kind)}"
    explanation = (
        f"{name} alone, given the same input, computes something else than {what} by its "
        f"definition; so does {share} of its kind."
    )
    return Suspect(name, what, source, comparison, explanation, name, "forward")


def _of_names(trace: LayerTrace, name: str) -> Source | None:
    # Right numbers under wrong names: would the layer be right with its tensors exchanged?
    definition, item = trace.definition, trace.layers[name]
    training = trace.gradients is not None
    keys = [key for key in definition.state if key.rpartition(".")[0] == name]
    for one, other in combinations(keys, 2):
        state = {**definition.state, one: definition.state[other], other: definition.state[one]}
        if state[one].shape != state[other].shape or (state[one] == state[other]).all():
            continue
        with np.errstate(invalid="ignore"):
            run = ReferenceNet(definition.spec, state).run(name, item.input, training=training)
        if trace.compare(name, item.output, run.output, 0.0, "layer").passed:
            # Both twins' names are made from the manifest; PyTorch's are its keys.
            if trace.framework == REFERENCE:
                return Source.of(load_backend(REFERENCE).model.write_state)
            return Source.of(manifest, "MINDSPORE_LEAVES")
    return None


# Loss and statistics


def _loss(trace: LayerTrace, direction: Direction = "forward") -> Suspect | None:
    def pair(of: LayerTrace) -> Pair:
        item, labels = of.layers[of.context.spec.names.classifier], of.context.labels
        if direction == "forward":
            truth = operations.cross_entropy(item.output, labels, LABEL_SMOOTHING)
            return np.array(of.gradients.loss), np.array(truth), None
        truth = operations.cross_entropy_vjp(1.0, item.output, labels, LABEL_SMOOTHING)
        return item.gradient, truth, None

    quantity, explanation = "loss", "The logits are right, but not the loss that is made of them."
    if direction == "backward":
        quantity = trace.gradient_quantity
        explanation = "The loss is right, but not its gradient for the logits."
    comparison = trace.measure("loss", pair, quantity)
    source = Source.of(load_backend(trace.framework).loss.cross_entropy)
    suspect = Suspect("loss", "cross entropy", source, comparison, explanation, direction=direction)
    return None if comparison.passed else suspect


def _statistics(trace: LayerTrace) -> Suspect | None:
    def pair(of: LayerTrace, key: str) -> Pair:
        truths = of.run(key.rpartition(".")[0]).statistics
        return of.gradients.statistics[key], truths[key], statistic_scale(key, truths)

    spec = trace.context.spec
    keys = [key for key, entry in manifest(spec).items() if entry.role not in TRAINED_ROLES]
    compared = {key: trace.measure(key, partial(pair, key=key), "statistics") for key in keys}
    off = {key: comparison for key, comparison in compared.items() if not comparison.passed}
    if not off:
        return None
    first = next(iter(off))
    wrong, layers = ({key.rpartition(".")[0]: None for key in some} for some in (off, keys))
    source = sources.of_layers(trace.framework, wrong, layers, spec)
    what = "running statistics of batch norm"
    explanation = (
        f"The batch is normalised as it should be, but {first} does not move by the momentum "
        f"towards the batch's; neither do {len(off) - 1} others of {len(keys)}."
    )
    layer = first.rpartition(".")[0]
    return Suspect(first, what, source, off[first], explanation, layer, "forward")


# Backward


def _unit_backward(trace: LayerTrace, name: str) -> Suspect | None:
    # Within a layer from its end to its start: gradients of what the layers in it return, of
    # their parameters, and last of what passes on to the layer before.
    inner = [child for child in trace.run(name).layers if child != name]
    for child in reversed(inner):
        comparison = _gradient(trace, name, child, _of_output(child))
        if not comparison.passed:
            return _consumer(trace, name, child, comparison)
    for key in reversed(trace.run(name).parameters):
        comparison = _gradient(trace, name, key, _of_parameter(key))
        if not comparison.passed:
            layer = key.rpartition(".")[0]
            source = sources.builder(trace.framework, layer)
            what = f"gradient of {sources.operation(layer)}"
            right = f"The gradient that reaches {layer} is right"
            explanation = f"{right}, but not what it makes of it for {key}."
            return Suspect(key, what, source, comparison, explanation, name, "backward")
    comparison = _gradient(trace, name, f"{name} input", _of_input(name))
    if comparison.passed:
        return None
    if trace.is_right_alone(name):
        return _cut(trace, NET, NET, name, comparison)
    children = trace.definition.children(name)
    if not children:
        return _backward_of(trace, name, name, comparison)
    is_sum = trace.definition.rows[name].has_skip or trace.context.spec.is_resnet
    if is_sum and trace.is_right_alone(children[0]):
        return _cut(trace, name, name, f"the skip of {name}", comparison)
    return _backward_of(trace, name, children[0], comparison)


def _consumer(trace: LayerTrace, unit: str, name: str, comparison: Comparison) -> Suspect:
    # The gradient of what a layer returns is made by the layer that takes it.
    parent = name.rpartition(".")[0]
    children = trace.definition.children(parent)
    place = children.index(name)
    if place == len(children) - 1:
        return _cut(trace, unit, parent, name, comparison)
    following = children[place + 1]
    if following.endswith(".downsample"):
        following = children[-1]
    if trace.definition.children(following):
        return _cut(trace, unit, following, name, comparison)
    if trace.is_right_alone(following):
        return _cut(trace, unit, parent, name, comparison)
    return _backward_of(trace, unit, following, comparison)


def _cut(trace: LayerTrace, unit: str, parent: str, name: str, comparison: Comparison) -> Suspect:
    where, what = name if name in trace.layers else unit, "gradient on its way back"
    source = sources.composite(trace.framework, parent, trace.context.spec)
    explanation = (
        f"Forward everything is right; back, the gradient is lost or scaled on its way through "
        f"{_whole(parent)} to {name}."
    )
    return Suspect(where, what, source, comparison, explanation, unit, "backward")


def _backward_of(trace: LayerTrace, unit: str, name: str, comparison: Comparison) -> Suspect:
    what, source = f"gradient of {sources.operation(name)}", sources.builder(trace.framework, name)
    explanation = f"The gradient that reaches {name} is right, but not the one that it passes on."
    return Suspect(name, what, source, comparison, explanation, unit, "backward")


# For a trace and what a layer of it must give: the gradient that is there, and the right one.
_Gradients = Callable[[LayerTrace, Run], tuple[Array | None, Array]]


def _of_output(name: str) -> _Gradients:
    return lambda trace, run: (trace.layers[name].gradient, run.layers[name].gradient)


def _of_parameter(key: str) -> _Gradients:
    return lambda trace, run: (trace.gradients.parameters.get(key), run.parameters[key])


def _of_input(name: str) -> _Gradients:
    def pair(trace: LayerTrace, run: Run) -> tuple[Array, Array]:
        units = trace.definition.children(NET)
        place = units.index(name)
        # What goes into a layer is what the one before it returned, and the pixels.
        before = trace.layers[units[place - 1]].gradient if place else trace.gradients.input
        return before, run.input

    return pair


def _gradient(trace: LayerTrace, unit: str, where: str, gradients: _Gradients) -> Comparison:
    def pair(of: LayerTrace) -> Pair:
        run = of.run(unit)
        found, truth = gradients(of, run)
        whole = whole_norm(map(norm, run.parameters.values()))
        return found, truth, gradient_scale(norm(truth), whole)

    return trace.measure(where, pair, trace.gradient_quantity)


def _whole(name: str) -> str:
    return name or "the net"
