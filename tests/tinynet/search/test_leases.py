import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tinynet.search import leases
from tinynet.search.leases import STALE_AFTER, kept, take

from containers import CONTAINER, needs_containers

# Takes the lease on the folder that it is given, says so, and stays until its input ends.
HOLDER = """
import sys
from pathlib import Path
from tinynet.search.leases import take
print(take(Path(sys.argv[1])).name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "work"


def put(folder, number, **changes):
    """A lease of this process, or of what the changes say."""
    path = take(folder)
    assert path.name == f"claim.{number}"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_leased_work_is_not_leased_again(folder):
    assert take(folder).name == "claim.1"
    assert take(folder) is None


def test_of_many_who_try_one_succeeds(folder):
    start, found = threading.Barrier(8), []

    def attempt():
        start.wait()
        found.append(take(folder))

    for number in range(1, 6):
        threads = [threading.Thread(target=attempt) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        won = [path for path in found if path]
        assert [path.name for path in won] == [f"claim.{number}"]
        os.utime(won[0], (0, 0))
        found.clear()


def test_the_lease_of_a_process_that_ended_is_taken_over(folder):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    put(folder, 1, pid=gone.pid)
    assert take(folder).name == "claim.2"
    assert take(folder) is None


def test_a_process_that_nobody_waited_for_is_gone(folder):
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    stat = Path(f"/proc/{zombie.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    put(folder, 1, pid=zombie.pid)
    assert take(folder).name == "claim.2"
    zombie.wait()


def test_another_process_of_the_same_number_is_another(folder):
    put(folder, 1, started="1")
    assert take(folder).name == "claim.2"


def grow_old(path):
    old = time.time() - STALE_AFTER - 1
    os.utime(path, (old, old))


def test_leases_of_another_host_expire_by_age(folder):
    path = put(folder, 1, host="elsewhere", pid=0)
    assert take(folder) is None
    grow_old(path)
    assert take(folder).name == "claim.2"


@needs_containers
def test_a_container_of_the_same_name_is_another_host(folder):
    command = [*CONTAINER, sys.executable, "-c", HOLDER, folder]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout.readline() == "claim.1\n"
        # The number that it has there is another process's here.
        assert take(folder) is None
        holder.kill()
    # That it is gone is not to be seen from here.
    assert take(folder) is None
    grow_old(folder / "claim.1")
    assert take(folder).name == "claim.2"


def test_a_machine_that_was_started_anew_is_another_host(folder, monkeypatch):
    read = Path.read_text
    put(folder, 1, started="1")
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path, **how: "another" if path.name == "boot_id" else read(path, **how),
    )
    assert take(folder) is None
    grow_old(folder / "claim.1")
    assert take(folder).name == "claim.2"


def test_an_empty_lease_expires_by_age(folder):
    path = put(folder, 1)
    path.write_text("")
    assert take(folder) is None
    os.utime(path, (0, 0))
    assert take(folder).name == "claim.2"


def test_a_lease_is_renewed_while_it_is_kept_and_given_up_after(folder, monkeypatch):
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.01)
    path = put(folder, 1)
    os.utime(path, (0, 0))
    with kept(path):
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert take(folder) is None
    assert take(folder).name == "claim.2"


def test_a_lease_may_be_deleted_with_its_work(folder):
    path = put(folder, 1)
    with kept(path):
        path.unlink()
    assert take(folder).name == "claim.1"
