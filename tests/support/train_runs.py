"""Small training runs at the command line: what several test files start."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tinynet.checkpoints.training_state import load_training_state
from tinynet.recipe import format_recipe, load_recipe
from tinynet.spec import format_spec, load_spec

from training_states import SMALL

SCRIPTS = Path(__file__).parents[2] / "scripts"
DIGITS = load_spec("tinynet_digits")
# Takes milliseconds a step.
SPEC = dataclasses.replace(
    SMALL, input_size=(1, 16, 16), labels=DIGITS.labels, preprocessing=DIGITS.preprocessing
)
# Everything that a run can have: RMSProp, average, dropout, drop-path, warm-up. Of the 20 images
# below two and a half batches make an epoch; it has ten steps.
RECIPE = dataclasses.replace(
    load_recipe("digits"),
    name="short",
    epochs=4.0,
    batch_size=8,
    drop_path_rate=0.1,
    spec=None,
    data=None,
    source="",
)
IMAGES, VALIDATION_IMAGES, STEPS = 20, 13, 10
ENDS = [3, 5, 8, 10]  # steps that take the last image of an epoch
TWINS = ("torch", "mindspore")


def folder_of(output):
    """Returns the names of what a run left, in order."""
    return sorted(path.name for path in output.iterdir())


def write_files(folder):
    """Writes spec.json, recipe.json and data/, which has real digits, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(format_spec(SPEC))
    (folder / "recipe.json").write_text(format_recipe(RECIPE))
    digits = load_digits()
    taken = {str(label): np.flatnonzero(digits.target == label) for label in range(10)}
    for split, first, images in (("train", 0, IMAGES), ("val", 5, VALIDATION_IMAGES)):
        for number in range(images):
            label = str(number % 10)
            place = folder / "data" / split / label
            place.mkdir(parents=True, exist_ok=True)
            pixels = digits.images[taken[label][first + number // 10]] * (255 / 16)
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02d}.png")
    return folder


def arguments(framework, files, output, *more):
    """Arguments of train.py for a run of RECIPE; the options in ``more`` come last."""
    usual = [
        "--framework",
        framework,
        "--recipe",
        files / "recipe.json",
        "--spec",
        files / "spec.json",
        "--data",
        files / "data",
        "--output",
        output,
        "--workers",
        "0",
        "--log-every",
        "1",
    ]
    if framework == "mindspore" and "--compile" not in more:
        usual.append("--no-compile")  # seconds to compile, milliseconds to run
    return [str(argument) for argument in (*usual, *more)]


def environment(**more):
    """For a process of its own, in which NumPy and frameworks leave the other cores alone."""
    folder = Path(sys.executable).parent  # msrun starts the first python on PATH
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return dict(os.environ, OMP_NUM_THREADS="1", PATH=path, **more)


def start(*command, **settings):
    """Starts train.py, or a launcher of it, in a process and a group of processes of its own."""
    return subprocess.Popen(
        list(map(str, command)),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **settings,
    )


def script():
    """The command that starts train.py."""
    return [sys.executable, str(SCRIPTS / "train.py")]


def wait_for_steps(steps, process, output, seconds=60):
    """Waits until a run that was started has done so many steps; one that does not is ended."""
    deadline = time.monotonic() + seconds
    while not (output / "log.jsonl").exists() or len(log_of(output, "train")) < steps:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"no step {steps}: {process.communicate(timeout=10)}")
        time.sleep(0.005)


def free_port():
    """A port that nothing listens to just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def log_of(output, kind=None):
    """The lines of a run's log, all or those of a kind."""
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if kind in (None, line["kind"])]


def last_of(output):
    """The state in a run's last checkpoint."""
    return load_training_state(output / "last.safetensors")


def is_error(err, message):
    """Whether standard error holds one line that says this, and nothing else."""
    return re.fullmatch(f"error: .*{message}.*\n", err) is not None
