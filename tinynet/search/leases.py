"""Leases: which process works on what, where many share a folder and nothing else.

A piece of work is a folder, and a lease on it is a file there that was created exclusively; it
holds the host and the process. Its holder renews it every minute. A lease is stale when its process
was on this host and has ended, or when it was not renewed for ten minutes. A stale lease is taken
over by creating the one with the next number, so that one of many who try succeeds. The clocks of
the machines must agree to some minutes.

A host is whatever numbers its own processes: a machine, a machine between two restarts, a
container. Whether a process on another host is alive cannot be seen from here, so only the age of
its leases counts.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

RENEWED_EVERY = 60.0
STALE_AFTER = 600.0


def take(folder: Path) -> Path | None:
    """Takes the lease on a piece of work.

    Args:
        folder: of the work; it is made if it does not exist.

    Returns:
        The file of the lease, for :func:`kept`; None if another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, newest = max(
        ((int(path.suffix[1:]), path) for path in folder.glob("claim.*")), default=(0, None)
    )
    if newest is not None and not _is_stale(newest):
        return None
    path = folder / f"claim.{number + 1}"
    try:
        with path.open("x", encoding="utf-8") as file:
            json.dump({"host": _host(), **_process(os.getpid())}, file)
    except FileExistsError:
        return None
    return path


@contextmanager
def kept(path: Path) -> Generator[None, None, None]:
    """Renews a lease while its holder works, and then gives it up if its file still exists."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEWED_EVERY):
            with suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(FileNotFoundError):
            # Stale for every process. Were it removed, an older one would be the newest again.
            os.utime(path, (0, 0))


def _is_stale(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True  # its work has just been finished
    # The file is empty if its holder has just created it, or was killed at that moment.
    holder: dict[str, Any] = json.loads(text) if text.endswith("}") else {}
    is_here = holder.pop("host", None) == _host()
    return age > STALE_AFTER or (is_here and holder != _process(holder["pid"]))


def _host() -> str:
    """Returns the name of what numbers the processes that this one can see."""
    parts = [socket.gethostname()]
    # Names are not enough: containers may share their machine's name, machines may all be called
    # "localhost", and a container that is started again begins to count again.
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _process(pid: int) -> dict[str, int | str | None]:
    """Returns the process with a number, and when it started where the system can tell."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # After the name in brackets, which may hold anything: the state is the third field and
            # the time of the start the 22nd (man 5 proc).
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return {"pid": pid, "started": None}
        gone = fields[0] in "ZX"
        return {"pid": pid, "started": None if gone else fields[19]}
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return {"pid": pid, "started": None}
    except PermissionError:
        pass  # it exists and is another user's
    return {"pid": pid, "started": "unknown"}
