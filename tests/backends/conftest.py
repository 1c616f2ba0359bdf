import pytest


@pytest.fixture(scope="session", autouse=True)
def _quick_frameworks():
    # MindSpore launches operations one by one instead of in a queue of its own, which halves the
    # time of small nets; PyTorch leaves the other cores to the other test processes.
    import torch

    import mindspore_impl  # noqa: F401 (sets the environment that MindSpore reads)

    import mindspore  # isort: skip

    torch.set_num_threads(1)
    mindspore.runtime.launch_blocking()
