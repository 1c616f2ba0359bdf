"""The checks of the suite: one a file, and addresses that come from objects."""

import importlib
import pkgutil

import pytest

from tinynet.backend import load_backend
from tinynet.net import manifest
from tinynet.spec import Spec
from tinynet.training.schedule import learning_rate

from parity import checks
from parity.checks import CALIBRATED, CHECKS, RECORDED
from parity.checks.base import Check
from parity.tolerances.bounds import BOUNDS
from parity.tracing.sources import Source

MODULES = [module.name for module in pkgutil.iter_modules(checks.__path__)]
HELPERS = {"base", "non_smooth"}


def test_every_check_has_a_file_of_its_name_and_is_in_the_suite():
    assert {name.replace("-", "_") for name in CHECKS} == set(MODULES) - HELPERS


@pytest.mark.parametrize("module", sorted(set(MODULES) - HELPERS))
def test_a_file_has_one_check(module):
    found = vars(importlib.import_module(f"parity.checks.{module}")).values()
    own = [v for v in found if isinstance(v, type) and v.__module__ == f"parity.checks.{module}"]
    (check,) = [kind for kind in own if issubclass(kind, Check)]
    assert type(CHECKS[check.name]) is check
    assert check.name == module.replace("_", "-")
    assert check.title
    assert check.unit
    assert check.reason
    assert set(check.quantities) <= set(BOUNDS)


def test_every_bound_is_that_of_a_check():
    assert {row for check in CALIBRATED.values() for row in check.quantities} == set(BOUNDS)


def test_a_recorded_check_has_a_bound():
    assert all(check.quantities for check in RECORDED.values())


@pytest.mark.parametrize(
    ("thing", "file", "definition"),
    [
        (learning_rate, "tinynet/training/schedule.py", "learning_rate"),
        (Spec, "tinynet/spec.py", "Spec"),
        (Spec.blocks, "tinynet/spec.py", "Spec.blocks"),
        (checks, "parity/checks/__init__.py", ""),
    ],
    ids=lambda value: str(getattr(value, "__qualname__", value)),
)
def test_an_address_is_that_of_the_object(thing, file, definition):
    assert Source.of(thing) == (file, definition)


def test_an_address_of_a_constant_and_of_a_twin():
    constant = Source.of(manifest, "MINDSPORE_LEAVES")
    assert constant == ("tinynet/net/manifest.py", "MINDSPORE_LEAVES")
    for framework in ("torch", "mindspore"):
        source = Source.of(load_backend(framework).blocks.SqueezeExcite)
        assert source == (f"{framework}_impl/blocks.py", "SqueezeExcite")
        assert source.framework == framework
