"""Files that are written whole or not at all, and checks of where they are to go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tinynet.utils.strict_json import DocumentError


def check_not_source(
    destination: str | os.PathLike[str], source: str | os.PathLike[str], error: type[ValueError]
) -> None:
    """Raises ``error`` if the file to write is the one that is read."""
    if Path(destination).exists() and Path(destination).samefile(source):
        raise error(f"{destination}: is the source itself, name another file to write")


def check_destination(path: str | os.PathLike[str]) -> Path:
    """Checks, before long work, that a file can be written at ``path``.

    Raises:
        DocumentError: the folder of ``path`` does not exist, or ``path`` is a folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise DocumentError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise DocumentError(f"{path}: is a folder, expected the name of a file to write")
    return path


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Writes a UTF-8 text file as :func:`write_atomically` does, which see for errors."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Writes a file under a temporary name beside its place, then renames it.

    A reader never sees half a file, and a failed write keeps what was there before, nothing else.

    Args:
        path: where the file is to be; its folder must exist.
        write: is given the temporary path (same suffix as ``path``) and must create that file.

    Raises:
        DocumentError: what :func:`check_destination` raises.
    """
    path = check_destination(path)
    # A folder, because some writers (MindSpore's) put temporary files beside the one asked for.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        write(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
