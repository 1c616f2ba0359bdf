"""Who works on what, where many processes, on many machines, share a folder and nothing else.

A piece of work is a folder, and a claim on it is a file there that was created exclusively, which
holds the host and the process. Its holder renews it every minute. It is stale when its process is
on this host and is no more, or when it was not renewed for ten minutes. A stale claim is taken
over by creating the one with the next number, so that of many who try, one succeeds. The clocks
of the machines must agree to some minutes.

Another host is whatever numbers its processes by itself: another machine, the same machine started
anew, another container on it. Whether a process there is alive cannot be seen from here, so its
claims are told by their age alone.
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


def claim(folder: Path) -> Path | None:
    """Claims a piece of work.

    Args:
        folder: of the work; made where there is none.

    Returns:
        The claim, for :func:`kept`; None where somebody else has it.
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
    """Renews a claim while its holder works, and gives it up behind that, if it is still there."""
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
            # Stale for everybody. Were it removed, an older one would be the newest again.
            os.utime(path, (0, 0))


def _is_stale(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return True  # its work was just done
    # Nothing is in it yet where its holder has just created it, or was killed at that moment.
    holder: dict[str, Any] = json.loads(text) if text.endswith("}") else {}
    is_here = holder.pop("host", None) == _host()
    return age > STALE_AFTER or (is_here and holder != _process(holder["pid"]))


def _host() -> str:
    """What numbers the processes that this one can see."""
    parts = [socket.gethostname()]
    # Names alone would not do: containers of one machine may share its name, machines may have none
    # but "localhost", and of a container that was started anew the numbers begin anew.
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _process(pid: int) -> dict[str, int | str | None]:
    """The process with this number, told from earlier and later ones where the system can."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # Behind the name, which may hold anything, in brackets: the state is the third field
            # and the time of the start the 22nd (man 5 proc).
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
        pass  # another user's, and there
    return {"pid": pid, "started": "unknown"}
