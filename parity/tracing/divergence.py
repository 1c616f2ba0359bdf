"""The first divergence: a failing run traced to the file, the definition and the layer.

The lowest check that failed says what kind of thing is off, and locates it; where a twin raised an
exception, its traceback tells.
"""

from __future__ import annotations

from collections.abc import Callable

from parity.context import Context
from parity.results import CheckResult, Divergence
from parity.tracing import reproduction, sources
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect

# As :meth:`parity.checks.base.Check.locate`.
Locate = Callable[[Context, CheckResult], Suspect | None]


def trace(
    context: Context, locate: Locate, result: CheckResult, error: Exception | None
) -> Divergence:
    """Traces the lowest check that failed, by its exception if one ended it, or by ``locate``."""
    try:
        raised = error if result.failures[0].kind == "error" else None
        found = _raised(context, result, raised) if raised else locate(context, result)
        suspect = found or _not_traced(result)
    except Exception as other:  # what is broken enough to fail may raise when it is looked at
        suspect = _raised(context, result, other) or _not_traced(result, other)
    source, off = suspect.source, suspect.comparison
    what = suspect.where, suspect.operation, suspect.direction
    address = source.framework, source.file, source.definition
    distance = off.error, off.noise, off.bound
    script = reproduction.script(context, result, suspect)
    return Divergence(result.name, *what, *address, *distance, suspect.explanation, script)


def _raised(context: Context, result: CheckResult, error: Exception) -> Suspect | None:
    source = sources.of_error(error, context.spec)
    if source is None:
        return None
    where = sources.named_key(error, context.spec) or source.definition
    message = " ".join(str(error).split())
    explanation = f"{type(error).__name__} in {source.definition}: {message[:300]}"
    return Suspect(where, result.title, source, result.failures[0], explanation)


def _not_traced(result: CheckResult, error: Exception | None = None) -> Suspect:
    first = result.failures[0]
    explanation = "Every part is right for itself; what they make together is not."
    if error is not None:
        explanation = f"Not traced, because that raised {type(error).__name__}: {error}"
    return Suspect(first.where, result.title, Source(""), first, explanation)
