"""What of a parametrised test runs in which tier.

``make test`` runs what bears no mark; ``make test-all`` also runs what is marked ``full``.
"""

import pytest


def only_in_full(values, usual):
    """Returns parameters for ``parametrize``: those that are not in ``usual`` are marked ``full``.

    Args:
        values: all that ``make test-all`` runs, in their order.
        usual: those that ``make test`` runs as well; each must be one of ``values``.
    """
    unknown = [value for value in usual if value not in values]
    assert not unknown, unknown
    return [v if v in usual else pytest.param(v, marks=pytest.mark.full) for v in values]
