"""What a run writes down beside its checkpoints: run.json, log.jsonl and TensorBoard's events."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinynet.checkpoints.training_state import Progress
from tinynet.recipe import recipe_document
from tinynet.spec import spec_document
from tinynet.utils.atomic_files import write_text_atomically
from tinynet.utils.strict_json import DocumentError, parse_document, read_text

_RUN, _LOG, _BOARD = "run.json", "log.jsonl", "tensorboard"
_PACKAGES = ("tinynet-twins", "torch", "mindspore", "numpy", "pillow", "safetensors")


class RunLog:
    """The records of a run, opened for one session of it: a start, or a resume.

    ``run.json`` gets all it takes to repeat the run, with this session after the earlier ones.
    ``log.jsonl`` loses what follows the step the session starts from, since it is done
    again.

    Args:
        folder: of the run; made where there is none.
        progress: where the session starts.
        command: the command line.
        how: whatever else is to be known of the session, as JSON has it.
    """

    def __init__(self, folder: Path, progress: Progress, command: str, how: dict[str, Any]):
        self._folder = folder
        self._progress = progress
        self._session = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "from_step": progress.step,
            "command": command,
            "git_commit": _git_commit(),
            "versions": _versions(),
            "machine": f"{platform.platform()}, {os.cpu_count()} cores",
            **how,
        }
        self._stack = ExitStack()
        self._board: Any = None

    def __enter__(self) -> RunLog:
        folder, progress = self._folder, self._progress
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("*.safetensors", _RUN, _LOG):
            for left in folder.glob(f".{name}.*"):
                shutil.rmtree(left)  # what a killed run was writing
        _write_json(folder / _RUN, self._document())
        log = folder / _LOG
        kept = [line for line in _lines(log) if _step(line) <= progress.step]
        write_text_atomically(log, "".join(kept))
        self._log = self._stack.enter_context(log.open("a", encoding="utf-8"))
        if find_spec("tensorboardX") is not None:
            writer: Any = import_module("tensorboardX").SummaryWriter  # which has no types
            self._board = writer(str(folder / _BOARD), purge_step=progress.step + 1)
            self._stack.callback(self._board.close)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, record: dict[str, Any]) -> None:
        """Adds a line of JSON values to the log, and its numbers to TensorBoard.

        ``kind`` and ``step`` of the record say what it holds and where it belongs.
        """
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()
        if self._board is not None:
            for key, value in record.items():
                if key not in ("kind", "step", "images"):
                    self._board.add_scalar(f"{record['kind']}/{key}", value, record["step"])

    def _document(self) -> dict[str, Any]:
        progress = self._progress
        before = _sessions(self._folder / _RUN) if progress.step else []
        return {
            "spec": spec_document(progress.spec),
            "recipe": recipe_document(progress.recipe),
            "seed": progress.seed,
            "images": progress.images,
            "data_sha256": progress.data_sha256,
            "sessions": [*before, self._session],
        }


def _write_json(path: Path, document: dict[str, Any]) -> None:
    write_text_atomically(path, json.dumps(document, indent=2) + "\n")


def _lines(path: Path) -> list[str]:
    # A line that a killed run left unfinished has no end.
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0


def _sessions(path: Path) -> list[Any]:
    try:
        return list(parse_document(read_text(path), str(path))["sessions"])
    except (DocumentError, KeyError, TypeError):
        return []


def _git_commit() -> str | None:
    # Of the code, which need not be where the command was given. An installed package may lie in
    # another project's repository, whose commit says nothing.
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
