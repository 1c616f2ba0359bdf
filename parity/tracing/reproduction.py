"""The standalone script of a few lines that shows a difference by itself."""

from __future__ import annotations

from tinynet.backend import REFERENCE
from tinynet.spec import Spec, format_spec, list_specs, load_spec

from parity.context import LABEL_SMOOTHING, OPTIMIZERS, Context
from parity.reference.structure import NET
from parity.results import CheckResult
from parity.tracing import sources, training_trace
from parity.tracing.suspect import Suspect


def script(context: Context, result: CheckResult, suspect: Suspect) -> str:
    """Writes a Python script that exits with status 1 while the difference is there."""
    if suspect.optimizer and suspect.comparison.kind == "value":
        body = _update(context, suspect)
    elif suspect.direction == "forward" and not suspect.in_training:
        body = _evaluation(context, suspect)
    elif suspect.direction and suspect.unit != NET:
        body = _training(context, suspect)
    else:
        body = _check(context, result.name)
    place = ", ".join(filter(None, suspect.source))
    return _HEAD.format(
        title=f"{suspect.where}: {suspect.operation} ({place or 'place not known'})",
        root=str(sources.ROOT),
        spec=_spec(context.spec),
        body=body.strip("\n"),
    )


_HEAD = '''\
"""{title}.

Prints how far each result is from the truth. Exits with status 1 while one is too far.
"""

import sys

import numpy as np

sys.path.insert(0, {root!r})

from tinynet.backend import load_backend
from tinynet.spec import load_spec, parse_spec

from parity import inputs
from parity.distances import norm, relative_error
from parity.reference.net import ReferenceNet

spec = {spec}
{body}
'''


def _state(context: Context) -> str:
    reference = f"load_backend({REFERENCE!r}, tune=True)"
    return f"state = inputs.sample_state(spec, {context.seed}, {reference})"


def _spec(spec: Spec) -> str:
    if spec.name in list_specs() and load_spec(spec.name) == spec:
        return f"load_spec({spec.name!r})"
    return f'parse_spec("""{format_spec(spec)}""")'


def _evaluation(context: Context, suspect: Suspect) -> str:
    name, given = suspect.unit, f"inputs.pixels(spec, 2, {context.seed})"
    if name != NET:
        given = f"definition.run({NET!r}, {given}).layers[{name!r}].input"
        found = f"twin.probe.isolated(net, {{{name!r}: x}}, mode)[{name!r}]"
    else:
        found = f"twin.probe.trace(net, x, mode)[{context.spec.names.classifier!r}].output"
    return f"""\
{_state(context)}
definition = ReferenceNet(spec, state)
x = {given}.astype(np.float32)
truth = definition.run({name!r}, x).output
off = False
for framework, mode in {_runs(context)}:
    twin = load_backend(framework, tune=True)
    net = twin.probe.build(spec, state)
    found = {found}
    error = relative_error(found, truth) if found.shape == truth.shape else np.inf
    print(f"{{framework}} {{mode}}: {{error:.3g}} from the truth, {_limit(suspect)} passes")
    print("  it computes ", found.ravel()[:4], "\\n  the truth is", truth.ravel()[:4])
    off |= not error <= {_limit(suspect)}
sys.exit(off)
"""


def _training(context: Context, suspect: Suspect) -> str:
    name, key = suspect.unit, suspect.where
    return f"""\
from parity.reference import operations

{_state(context)}
definition = ReferenceNet(spec, state)
pixels, labels = inputs.pixels(spec, 4, {context.seed + 1}), inputs.labels(spec, 4, {context.seed})


def upstream(logits):
    return operations.cross_entropy_vjp(1.0, logits, labels, {LABEL_SMOOTHING})


# What {name} is given in training, and the gradient that comes back to it.
layer = definition.run("", pixels, upstream, training=True).layers[{name!r}]
x, dy = layer.input.astype(np.float32), layer.gradient.astype(np.float32)
run = definition.run({name!r}, x, lambda _: dy, training=True)
truths = {{"input": run.input, **run.parameters, **run.statistics}}
off = False
for framework, mode in {_runs(context)}:
    twin = load_backend(framework, tune=True)
    net = twin.probe.build(spec, state)
    back = twin.probe.backward(net, {{{name!r}: (x, dy)}}, mode)[{name!r}]
    found = {{"input": back.input, **back.parameters}}
    moved = twin.model.read_state(net)
    found |= {{key: moved[key] for key in run.statistics}}
    whole = norm(np.concatenate([value.ravel() for value in run.parameters.values()] or [dy]))
    for key, truth in truths.items():
        scale = whole if norm(truth) < 1e-6 * whole else norm(truth)
        error = relative_error(found[key], truth, scale)
        if not error <= {_limit(suspect)}:
            print(f"{{framework}} {{mode}}: {{key}} is {{error:.3g}} from the truth")
            off = True
print("{key} is off" if off else "nothing is off")
sys.exit(off)
"""


def _update(context: Context, suspect: Suspect) -> str:
    return f"""\
from tinynet.recipe import load_recipe
from tinynet.utils.random_numbers import uniform

from parity.reference import training

{_state(context)}
start = inputs.training_state(spec, load_recipe({OPTIMIZERS[suspect.optimizer]!r}), state)
trained = next(iter(start.slots.values()))
draw = {{key: uniform(array.shape, key) - 0.5 for key, array in trained.items()}}
gradients = [{{key: values.astype(np.float32) for key, values in draw.items()}}]
rates, decays = [{training_trace.RATE}], [{training_trace.DECAY}]
truths = training.update(start, gradients, rates, decays).tensors
off = False
for framework in {context.frameworks}:
    found = load_backend(framework, tune=True).probe.update(start, gradients, rates, decays).tensors
    for key, truth in truths.items():
        error = relative_error(found[key], truth)
        if not error <= {_limit(suspect)}:
            print(f"{{framework}}: {{key}} is {{error:.3g}} from the truth")
            off = True
sys.exit(off)
"""


def _check(context: Context, name: str) -> str:
    first = context.first
    return f"""\
from parity.candidates import candidates_of
from parity.suite import run_checks

report = run_checks(
    spec,
    checks=[{name!r}],
    seed={context.seed},
    candidates=candidates_of({first.framework!r}, {[s.mode for s in context.candidates]}),
)
for item in report.checks[0].failures[:10]:
    print(f"{{item.where}} ({{item.candidate}}): {{item.error:.3g}}, {{item.bound:.3g}} passes")
    print(f"  {{item.note}}" if item.note else "")
sys.exit(not report.passed)
"""


def _runs(context: Context) -> list[tuple[str, str]]:
    return [(candidate.framework, candidate.mode) for candidate in context.with_baseline]


def _limit(suspect: Suspect) -> str:
    # Both are float32 here, so the reference's own bound of one rounding is none.
    return f"{max(suspect.comparison.bound, 2.0**-20):.3g}"
