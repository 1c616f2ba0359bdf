"""Processes that run as if in a container: with numbers of their own, under the same host name."""

import subprocess

import pytest

# When it ends, all that runs in it ends.
CONTAINER = ("unshare", "--map-root-user", "--mount-proc", "--pid", "--fork", "--kill-child")


def _allowed():
    try:
        return subprocess.run([*CONTAINER, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


needs_containers = pytest.mark.skipif(
    not _allowed(), reason="this system does not allow namespaces (unshare)"
)
