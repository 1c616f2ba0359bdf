"""Times what the twins do against what people would otherwise use, alternately in one run."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from _command import Parser, run

if TYPE_CHECKING:
    from tinynet.recipe import Recipe
    from tinynet.spec import Spec

DESCRIPTION = """\
Times one optimizer step of a twin (forward, backward, RMSProp, average) against the step that
people would otherwise write, in one process, in turn, so that a machine that slows down slows both.
Medians, with the fastest and the slowest; the ratio is that of the medians.

workloads:
  torch      against timm's eager step of the same net: NCHW, RMSpropTF, without an average
             (needs timm; without it the twin alone is timed)
  mindspore  against a step as MindSpore's tutorials write it, a function under @jit with
             nn.RMSProp: in the twin's environment, and in a process of its own as MindSpore finds
             the machine (its choice of threads, oneDNN without the twin's limit)
"""

EXAMPLES = """\
examples:
  benchmark.py torch --spec tinynet_e --batch-size 32
  benchmark.py mindspore --rounds 5 --json
"""

Step = Callable[[], object]


def main(argv: list[str] | None = None) -> None:
    """Parses the arguments, times and reports."""
    options = _parse(argv)
    # Before a framework is imported: it is then that thread pools are made.
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.workload == "jit":
        _serve(_jit(options))
        return
    steps = {"torch": _torch, "mindspore": _mindspore}[options.workload](options)
    times = _alternate(steps, options.rounds)
    ours, *peers = times
    report: dict[str, Any] = {
        "workload": options.workload,
        "spec": options.spec,
        "batch_size": options.batch_size,
        "threads": options.threads,
        "seconds": {
            name: {"median": statistics.median(t), "min": min(t), "max": max(t)}
            for name, t in times.items()
        },
        "ratios": {
            name: statistics.median(times[name]) / statistics.median(times[ours]) for name in peers
        },
    }
    if options.json:
        print(json.dumps(report))
        return
    print(f"{options.spec}, batch {options.batch_size}, {options.threads} thread(s)")
    for name, t in times.items():
        print(
            f"  {name:<26} {1e3 * statistics.median(t):9.1f} ms  ({1e3 * min(t):.1f} to "
            f"{1e3 * max(t):.1f})"
        )
    for name, ratio in report["ratios"].items():
        print(f"  {name} / {ours}: {ratio:.3f}")


def _alternate(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):  # the first two warm up, and compile
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:
                times[name].append(time.perf_counter() - start)
        print(f"\r{turn + 1} of {rounds + 2} rounds", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return times


def _torch(options: argparse.Namespace) -> dict[str, Step]:
    import torch

    torch.set_num_threads(options.threads)
    twin, step = _twin_step("torch", options)
    steps: dict[str, Step] = {"twin": twin}
    twin()
    gradients = [parameter.grad for parameter in step.trained]

    def update() -> None:
        step.optimizer(gradients, 1e-6)
        step.average(1e-4)

    try:
        # By name, since it is no dependency and has no types.
        timm: Any = importlib.import_module("timm")
    except ImportError:
        timm = None
    if timm is None or not timm.is_model(options.spec):
        why = "is not installed: pip install timm" if timm is None else f"has no {options.spec}"
        print(f"without a peer: timm {why}", file=sys.stderr)
    else:
        net: Any = timm.create_model(options.spec).train()
        optim: Any = importlib.import_module("timm.optim")
        rmsprop = optim.RMSpropTF(net.parameters(), lr=1e-6, momentum=0.9, weight_decay=1e-5)
        batch = _batch(options)
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2).float().div(255).contiguous()
        labels = torch.from_numpy(batch.labels).long()

        def eager() -> float:
            rmsprop.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(images), labels, label_smoothing=0.1)
            loss.backward()
            rmsprop.step()
            return loss.item()

        steps["timm eager"] = eager
    steps["optimizer and average"] = update
    return steps


def _mindspore(options: argparse.Namespace) -> dict[str, Step]:
    twin, _ = _twin_step("mindspore", options)
    # By itself MindSpore takes all cores, and oneDNN what the processor has.
    stock = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    process = subprocess.Popen(
        [
            sys.executable, __file__, "jit", "--spec", options.spec,
            "--batch-size", str(options.batch_size),
        ],
        env=stock | {"ONEDNN_MAX_CPU_ISA": "DEFAULT"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    requests, answers = cast(IO[str], process.stdin), cast(IO[str], process.stdout)

    def as_found() -> None:
        requests.write("step\n")
        requests.flush()
        if not answers.readline():
            raise ValueError("the process of the function under @jit ended")

    return {
        "twin": twin,
        "function under @jit": _jit(options),
        "the same, as found": as_found,
    }


def _serve(step: Step) -> None:
    # A step for each line, and a line for each step.
    for _ in sys.stdin:
        step()
        print("done", flush=True)


def _jit(options: argparse.Namespace) -> Step:
    from tinynet.spec import load_spec

    from mindspore_impl.model import TinyNet

    import mindspore as ms  # isort: skip (behind the twin, which sets its environment)
    from mindspore import nn

    net = TinyNet(load_spec(options.spec)).set_train()
    optimizer = nn.RMSProp(net.trainable_params(), 1e-6, momentum=0.9, weight_decay=1e-5)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

    def forward(images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        return criterion(net(images), labels)

    # Positions may be None by MindSpore's documentation, not by its types.
    compute: Any = ms.value_and_grad(forward, None, optimizer.parameters)  # pyright: ignore

    @ms.jit
    def function(images: ms.Tensor, labels: ms.Tensor) -> ms.Tensor:
        loss, gradients = compute(images, labels)
        optimizer(gradients)
        return loss

    batch = _batch(options)
    pixels = (batch.images.transpose(0, 3, 1, 2) / 255).astype("float32")
    images, labels = ms.Tensor(pixels), ms.Tensor(batch.labels)
    return lambda: function(images, labels).asnumpy()


def _twin_step(framework: str, options: argparse.Namespace) -> tuple[Step, Any]:
    from tinynet.training_state import initial_training_state

    from parity.twins import load_twin

    spec, recipe = _net_and_recipe(options)
    twin = load_twin(framework)
    start = initial_training_state(spec, recipe, 0, options.batch_size, "")
    step = twin.step.TrainStep(start, twin.distributed.join("cpu"))
    batch = _batch(options)
    return lambda: step([batch], 1e-6, 0.9999).tolist(), step


def _batch(options: argparse.Namespace) -> Any:
    import numpy as np

    from tinynet.loading import TrainingBatch
    from tinynet.masks import draw_masks
    from tinynet.randomness import uniform
    from tinynet.sampling import samples_at

    spec, recipe = _net_and_recipe(options)
    size = options.batch_size
    channels, height, width = spec.input_size
    masks = draw_masks(spec, recipe, 0, samples_at(range(size), size, 0))
    return TrainingBatch(
        images=(256 * uniform((size, height, width, channels), "benchmark")).astype(np.uint8),
        labels=np.arange(size, dtype=np.int32) % spec.num_classes,
        dropout=masks.dropout,
        drop_path=masks.drop_path,
        skipped=(),
    )


def _net_and_recipe(options: argparse.Namespace) -> tuple[Spec, Recipe]:
    from tinynet.recipe import load_recipe
    from tinynet.spec import load_spec

    recipe = load_recipe("imagenet", [f"batch_size={options.batch_size}"])
    return load_spec(options.spec), recipe


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "workload",
        choices=("torch", "mindspore", "jit"),
        metavar="WORKLOAD",
        help="torch or mindspore",
    )
    parser.add_argument("--spec", default="tinynet_e", help="(default: tinynet_e)")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="(default: 32)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="(default: 9)")
    parser.add_argument("--json", action="store_true", help="report as one JSON object")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run(main)
