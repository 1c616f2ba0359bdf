"""The first divergence: a failing run traced to the file, the definition and the layer.

The lowest check that failed says what kind of thing is off, and locates it; where a twin raised an
exception, its traceback tells.
"""

from __future__ import annotations

from typing import Protocol

from parity.context import Context
from parity.results import CheckResult, Divergence
from parity.tracing import reproduction, sources
from parity.tracing.sources import Source
from parity.tracing.suspect import Suspect


class Locates(Protocol):
    """What a check offers here, see :class:`parity.checks.base.Check`."""

    def locate(self, context: Context, result: CheckResult) -> Suspect | None:
        """Traces a failure to a definition."""
        ...


def trace(
    context: Context, check: Locates, result: CheckResult, error: Exception | None
) -> Divergence:
    """Traces a check that failed.

    Args:
        context: what was run on.
        check: the lowest check that failed.
        result: of it.
        error: the exception that ended it, if one did.
    """
    try:
        if error is not None and result.failures[0].kind == "error":
            suspect = _raised(context, result, error)
        else:
            suspect = check.locate(context, result)
        suspect = suspect or _not_traced(result)
    except Exception as raised:  # what is broken enough to fail may raise when it is looked at
        suspect = _raised(context, result, raised) or _not_traced(result, raised)
    return Divergence(
        check=result.name,
        where=suspect.where,
        operation=suspect.operation,
        direction=suspect.direction,
        framework=suspect.source.framework,
        file=suspect.source.file,
        definition=suspect.source.definition,
        error=suspect.comparison.error,
        noise=suspect.comparison.noise,
        bound=suspect.comparison.bound,
        explanation=suspect.explanation,
        script=reproduction.script(context, result, suspect),
    )


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
