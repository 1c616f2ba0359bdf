"""A stranger's mistake is found: a line of source is changed by hand, and one command names it.

Each mistake is made in a copy of the sources, whose parity command is then run as a person would,
in a process of its own, with no option but the spec and, for most, the one that ends it at the
first check that fails. It must name the file and the layer; and the script that it gives must show
the difference where it is, and none where it is not.
"""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinynet.spec import Head, Stage, Stem, format_spec, load_spec

from tiers import only_in_full

ROOT = Path(__file__).parents[2]
SOURCES = ("tinynet", "torch_impl", "mindspore_impl", "parity", "scripts")
# As small as can be: compiling graphs takes most of the time. One block with a skip.
TINY = dataclasses.replace(
    load_spec("tinynet_e").with_classes(10),
    name="tiny",
    input_size=(3, 16, 16),
    stem=Stem(3, 2, 8),
    stages=(Stage("ir", 1, 3, 1, 2, 8, 0.25),),
    head=Head(16),
)

AVERAGED = '''\
        self.averages = self.tensors.clone("ema", "same")
        self.for_each = ops.HyperMap()

    def construct(self, share: ms.Tensor) -> None:
        """Goes a share of the way, from 0 to 1, to the tensors as they are now."""
        self.for_each(ops.partial(self._approach, share), self.averages, self.tensors)
'''
WITHOUT_BUFFERS = '''\
        self.averages = self.tensors.clone("ema", "same")
        self.for_each = ops.HyperMap()
        pairs = [(a, t) for a, t in zip(self.averages, tensors) if t.requires_grad]
        self.some, self.theirs = (ms.ParameterTuple(side) for side in zip(*pairs))

    def construct(self, share: ms.Tensor) -> None:
        """Goes a share of the way, from 0 to 1, to the tensors as they are now."""
        self.for_each(ops.partial(self._approach, share), self.some, self.theirs)
'''

MISTAKES = {
    # what: file, the line as it is, the line with a mistake in it, the place that must be named
    "another eps": (
        "mindspore_impl/blocks.py",
        "eps=settings.eps",
        "eps=1e-3",
        "bn1",
    ),
    "an activation dropped": (
        "torch_impl/blocks.py",
        "y = self.act2(self.bn2(self.conv_dw(y)))",
        "y = self.bn2(self.conv_dw(y))",
        "blocks.0.0.act2",
    ),
    "a skip forgotten in the baseline": (
        "torch_impl/blocks.py",
        "bn3(self.conv_pwl(y))\n        return x + drop_path(y, factors) if self.has_skip else y",
        "bn3(self.conv_pwl(y))\n        return y",
        "blocks.0.0",
    ),
    "an activation dropped in the head": (
        "mindspore_impl/model.py",
        "self.act2(self.bn2(self.conv_head(x)))",
        "self.bn2(self.conv_head(x))",
        "act2",
    ),
    "a gradient cut": (
        "mindspore_impl/blocks.py",
        "return self.gate(self.conv_expand(self.act1(self.conv_reduce(means))))",
        "gates = self.gate(self.conv_expand(self.act1(self.conv_reduce(means))))\n"
        "        return ops.stop_gradient(gates)",
        "blocks.0.0.se.gate",
    ),
    "a shifted crop": (
        "tinynet/data/preprocessing.py",
        "left, top = round((size[0] - width) / 2), ",
        "left, top = round((size[0] - width) / 2) + 1, ",
        "test card",
    ),
    "an average that skips buffers": (
        "mindspore_impl/optim.py",
        AVERAGED,
        WITHOUT_BUFFERS,
        "ema.bn1.running_mean",
    ),
    "an average that skips buffers in the baseline": (
        "torch_impl/optim.py",
        "_torch._foreach_lerp_(self.averages, self.tensors, share)",
        "pairs = zip(self.averages, self.tensors)\n"
        "        pairs = [(a, t) for a, t in pairs if t.requires_grad]\n"
        "        _torch._foreach_lerp_([a for a, _ in pairs], [t for _, t in pairs], share)",
        "ema.bn1.running_mean",
    ),
    "a learning rate off by one epoch": (
        "tinynet/training/schedule.py",
        "Fraction(step * recipe.batch_size, images)",
        "Fraction(step * recipe.batch_size, images) + 1",
        "rate of step 1",
    ),
    "a loop's learning rate off by one epoch": (
        "tinynet/training/loop.py",
        "learning_rate(recipe, number, images)",
        "learning_rate(recipe, number + images // recipe.batch_size, images)",
        "rate of step 1",
    ),
}
# All checks run, and later ones fail too: the lowest must be named all the same.
TO_THE_END = ("another eps",)


@pytest.mark.parametrize("mistake", only_in_full(MISTAKES, ("an activation dropped in the head",)))
def test_a_mistake_in_the_source_is_named(mistake, tmp_path):
    file, right, wrong, place = MISTAKES[mistake]
    for name in SOURCES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (tmp_path / file).read_text()
    assert text.count(right) == 1
    (tmp_path / file).write_text(text.replace(right, wrong))
    (tmp_path / "tiny.json").write_text(format_spec(TINY))

    options = () if mistake in TO_THE_END else ("--fail-fast",)
    status, out = python(tmp_path, "scripts/parity.py", "--spec", "tiny.json", "--json", *options)
    assert status == 1, out
    found = json.loads(out)["divergence"]
    assert (found["file"], found["where"]) == (file, place)

    # By itself, far from the project, and again with the mistake put right.
    script = tmp_path / "elsewhere" / "reproduce.py"
    script.parent.mkdir()
    script.write_text(found["script"])
    status, out = python(script.parent, script.name)
    assert status == 1, out
    (tmp_path / file).write_text(text)
    status, out = python(script.parent, script.name)
    assert status == 0, out


def python(folder, *arguments):
    # Where the project is installed, its own sources must not come first.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    return result.returncode, result.stdout or result.stderr
