import os
import runpy
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tinynet.utils.process_pool import processor_shares

SCRIPTS = Path(__file__).parents[1] / "scripts"

# Every run draws the same specs, remembers nothing and is not timed: machines are shared. Ten times
# as many: pytest --hypothesis-profile=thorough
settings.register_profile("usual", database=None, deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", settings.get_profile("usual"), max_examples=500)
settings.load_profile("usual")

# A worker of pytest-xdist, and what it starts, keeps to processors of its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    shares = processor_shares(int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    own = shares[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))]
    if own:
        os.sched_setaffinity(0, own)


@pytest.fixture
def run_script(monkeypatch, capsys):
    """Runs a script in this process, where frameworks are imported once, as in one of its own.

    Gives its exit status and what it wrote to standard output and standard error.
    """

    def run(name, *arguments):
        path = str(SCRIPTS / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(path, run_name="__main__")
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run


@pytest.fixture(autouse=True)
def _quick_mindspore():
    # MindSpore launches operations one by one instead of in a queue of its own, which halves the
    # time of small nets.
    if "mindspore" in sys.modules:
        sys.modules["mindspore"].runtime.launch_blocking()
