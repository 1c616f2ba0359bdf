import pytest

from tinynet.backend import FRAMEWORKS, load_backend


@pytest.fixture(scope="session", autouse=True)
def _quick_frameworks():
    # MindSpore launches operations one by one instead of in a queue of its own, which halves the
    # time of small nets; PyTorch leaves the other cores to the other test processes.
    for name in FRAMEWORKS:
        load_backend(name, tune=True)
    import mindspore
    import torch

    torch.set_num_threads(1)
    mindspore.runtime.launch_blocking()
