import json

import pytest
from PIL import Image

from tinynet.checkpoints.files import Checkpoint, save_checkpoint
from tinynet.deploy.onnx_file import export

from tiny_net import SKLEARN, TINY, TINY_STATE
from train_runs import arguments, write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("train"))


@pytest.fixture
def train(run_script, files, tmp_path):
    """Trains and gives the exit status, the report and what stood on standard error."""

    def run(framework, name, *more):
        command = arguments(framework, files, tmp_path / name, "--json", *more)
        status, out, err = run_script("train", *command)
        return status, (json.loads(out) if out else None), err

    return run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="session")
def weights(folder):
    # The same net for each runtime.
    files = {"torch": folder / "tiny.safetensors", "onnx": folder / "tiny.onnx"}
    save_checkpoint(files["torch"], Checkpoint(TINY_STATE, TINY))
    export("mindspore", TINY, TINY_STATE, files["onnx"])
    return files | {"mindspore": files["torch"]}


@pytest.fixture(scope="session")
def crops(folder):
    # Five pieces of a photograph in three of the tiny net's classes.
    root = folder / "crops"
    with Image.open(SKLEARN / "china.jpg") as image:
        for index, label in enumerate("bbdgg"):
            (root / label).mkdir(parents=True, exist_ok=True)
            left = 100 * index
            image.crop((left, 50, left + 99, 149)).save(root / label / f"{index}.png")
    return root
