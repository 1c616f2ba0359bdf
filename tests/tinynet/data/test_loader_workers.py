"""The processes of the loader: how they start, end and fail, in scripts of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def script(tmp_path):
    """Writes and starts a script; its body is under the usual guard."""
    processes = []

    def start(body, top="", module=""):
        (tmp_path / "own_data.py").write_text(module)
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        (tmp_path / "script.py").write_text(
            "import sys, os\n"
            "print('script starts', flush=True)\n"
            f"{top}\n"
            "if __name__ == '__main__':\n"
            "    from tinynet.data.loader import load_batches\n"
            "    from tinynet.recipe import load_recipe\n"
            "    from tinynet.data.sources import Digits, PythonSource\n"
            "    from tinynet.spec import load_spec\n"
            "    spec, recipe = load_spec('tinynet_digits'), load_recipe('digits')\n"
            "    def load(source, workers=2, last_step=10**9):\n"
            "        return load_batches(source, spec, recipe, 0, first_step=0,\n"
            "                            last_step=last_step, workers=workers)\n"
            f"{lines}\n"
        )
        process = subprocess.Popen(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env=dict(os.environ, PYTHONPATH=str(ROOT), PYTHONFAULTHANDLER="1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        # With the workers, which are in its session.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


WORKERS = "[p.pid for p in __import__('multiprocessing').active_children()]"


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids, seconds=10):
    end = time.monotonic() + seconds
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(is_running, pids))


def ended(process, seconds=30):
    """What a script printed; one that hangs says where, in every thread."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        # Without its workers, which hold the same pipes.
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        pytest.fail(f"still runs after {seconds} s: {process.communicate()[1]}")


def children(parent):
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(path.parent.name)


def started(process):
    """Pids of the workers that a script printed, once it has."""
    for line in process.stdout:
        if line.startswith("["):
            pids = [int(pid) for pid in line.strip("[]\n").split(",")]
            assert len(pids) == 2
            assert all(map(is_running, pids))
            return pids
    raise AssertionError(process.stderr.read())


RUNNING = f"""
batches = load(Digits("train", spec))
next(batches), next(batches)
print({WORKERS}, flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_workers_end_when_their_parent_is_killed(script):
    process = script(RUNNING + "for _ in batches: pass")
    pids = started(process)
    os.kill(process.pid, signal.SIGKILL)
    assert gone(pids)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_workers_end_with_the_generator(script):
    # It waits for a line, so that the workers are seen before they end.
    process = script(RUNNING + f"input()\nbatches.close()\nprint('left:', {WORKERS})")
    pids = started(process)
    output, errors = process.communicate("\n", timeout=30)
    assert (output, errors) == ("left: []\n", "")
    assert gone(pids)


def test_ctrl_c_is_for_the_parent_alone(script):
    process = script(
        # Where the tests run in the background of a shell, it is ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "batches = load(Digits('train', spec))\n"
        "next(batches)\n"
        "try:\n"
        f"    print({WORKERS}, flush=True)\n"
        "    for _ in batches: pass\n"
        "except KeyboardInterrupt:\n"
        "    pass\n"
        "batches.close()\n"
        "print('interrupted')"
    )
    pids = started(process)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = ended(process)
    assert (output, errors, process.returncode) == ("interrupted\n", "", 0)
    assert gone(pids)


# After a pause each worker is within a batch that is not taken yet.
@pytest.mark.parametrize("pause", [0, 1])
def test_a_dead_worker_is_reported(script, pause):
    process = script(
        RUNNING
        + f"__import__('time').sleep({pause})\n"
        + "try:\n"
        + "    for _ in batches: pass\n"
        + "except ValueError as error:\n"
        + "    print(type(error).__name__, error)"
    )
    pids = started(process)
    time.sleep(pause / 2)
    os.kill(pids[0], signal.SIGKILL)
    output, _ = ended(process)
    assert output == (
        "LoadingError a process that prepares images ended unexpectedly (killed, perhaps for lack "
        "of memory): fewer --workers need less\n"
    )


def test_workers_neither_run_the_script_nor_import_frameworks(script):
    # A script may import a framework and what stands beside it, and change where to find it.
    module = """
import sys
import numpy
class Data:
    def __len__(self): return 64
    def __getitem__(self, index):
        heavy = {"torch", "mindspore", "beside", "sklearn"} & set(sys.modules)
        if heavy:
            raise RuntimeError(f"imported {heavy}")
        return numpy.full((8, 8), index, numpy.uint8), 3
"""
    process = script(
        "from own_data import Data\n"
        "for batch in load(PythonSource(Data(), spec), last_step=4):\n"
        "    print(batch.labels.sum())",
        top="import types; sys.modules['beside'] = types.ModuleType('beside'); import beside",
        module=module,
    )
    output, errors = process.communicate(timeout=60)
    assert (output, errors) == ("script starts\n" + "96\n" * 4, "")


def test_a_data_set_of_the_script_itself_is_refused_and_works_without_workers(script):
    process = script(
        "source = PythonSource(Own(), spec)\n"
        "print(next(load(source, workers=0)).labels.sum())\n"
        "try:\n"
        "    next(load(source))\n"
        "except ValueError as error:\n"
        "    print(error)",
        top=(
            "class Own:\n"
            "    def __len__(self): return 64\n"
            "    def __getitem__(self, index):\n"
            "        import numpy\n"
            "        return numpy.full((8, 8), index, numpy.uint8), 3\n"
        ),
    )
    output, errors = process.communicate(timeout=60)
    assert errors == ""
    first, second, third = output.splitlines()
    assert (first, second) == ("script starts", "96")
    assert third.startswith("a process that prepares images cannot open the data set: ")
    assert "Own" in third
    assert third.endswith("; --workers 0 needs no such process")
