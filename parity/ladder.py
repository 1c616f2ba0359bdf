"""The name of release 0.1 for what :func:`parity.suite.run_checks` does now."""

import warnings
from typing import Any

from parity.results import Report
from parity.suite import run_checks

_RENAMED = {"levels": "checks", "subjects": "candidates"}


def climb(*arguments: Any, **settings: Any) -> Report:
    """Runs the checks, whose arguments may have the names of release 0.1."""
    warning = "parity.ladder.climb is parity.suite.run_checks now"
    warnings.warn(warning, DeprecationWarning, stacklevel=2)
    return run_checks(*arguments, **{_RENAMED.get(name, name): settings[name] for name in settings})
