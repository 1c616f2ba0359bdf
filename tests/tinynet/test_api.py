"""What ``import tinynet`` offers, and the import paths of release 0.1."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinynet
from tinynet.net.initialise import initial_state


def test_every_public_name_is_what_its_module_has():
    for name, module in tinynet._MODULES.items():
        assert getattr(tinynet, name) is getattr(importlib.import_module(module), name)
        assert name in dir(tinynet)


def test_types_come_from_the_same_modules():
    lines = re.findall(r"from (\S+) import (\w+) as \2$", Path(tinynet.__file__).read_text(), re.M)
    assert {name: module for module, name in lines} == tinynet._MODULES


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'tinynet' has no attribute 'load_spek'"):
        _ = tinynet.load_spek


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys, tinynet, tinynet.cli; tinynet.load_spec; "
        "print({'numpy', 'jsonschema', 'torch', 'mindspore'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_checkpoints_by_their_path_of_release_0_1(tmp_path):
    import parity.checkpoint

    with pytest.warns(DeprecationWarning, match=r"is tinynet\.checkpoints\.files\.load_checkpoint"):
        assert parity.checkpoint.load_checkpoint is tinynet.load_checkpoint
    with pytest.warns(DeprecationWarning, match=r"is tinynet\.checkpoints\.files\.save_checkpoint"):
        assert parity.checkpoint.save_checkpoint is tinynet.save_checkpoint
    with pytest.raises(AttributeError, match="load_chekpoint"):
        _ = parity.checkpoint.load_chekpoint


def test_checks_by_their_path_of_release_0_1():
    import parity.ladder

    spec = tinynet.load_spec("tinynet_digits")
    with pytest.warns(DeprecationWarning, match=r"is parity\.suite\.run_checks now"):
        report = parity.ladder.climb(spec, initial_state(spec, 0), levels=["parameters"])
    assert report.passed
    assert [check.name for check in report.checks] == ["parameters"]
