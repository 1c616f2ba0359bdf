"""What every command is made of: a parser that imports only what is asked for, one-line errors."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

USER_ERROR = 2


class UsageError(ValueError):
    """Arguments that are wrong, or that do not go together. The message is one line."""

    def __str__(self) -> str:
        return f"{super().__str__()} (--help tells more)"


class Command(Protocol):
    """The module of a command. Its docstring is what ``--help`` prints, examples at the end.

    ``run`` returns the exit status. What is slow to import is imported in it and below, so that
    ``--help`` answers at once.
    """

    def add_arguments(self, parser: Parser) -> None: ...
    def run(self, options: argparse.Namespace) -> int: ...


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps the layout of its texts and raises a :class:`UsageError`.

    Args:
        module: name of a :class:`Command`, imported when the parser is used and not before.
        settings: those of ``argparse.ArgumentParser``.
    """

    def __init__(self, module: str = "", **settings: Any):
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(formatter_class=layout, allow_abbrev=False, **settings)
        self._module = module

    def parse_known_args(self, *words: Any, **settings: Any) -> tuple[Any, list[str]]:
        """Parses as usual, after the command's module has added its arguments."""
        if self._module:
            command = cast(Command, importlib.import_module(self._module))
            text, _, examples = (command.__doc__ or "").partition("Examples:\n")
            self.description, self.epilog, self._module = text, f"examples:\n{examples}", ""
            self.set_defaults(run=command.run)
            command.add_arguments(self)
        return super().parse_known_args(*words, **settings)

    def error(self, message: str) -> NoReturn:
        """Raises a :class:`UsageError`."""
        raise UsageError(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # Only sub-commands have their choices in a dictionary.
        names = list(action.choices or ())
        if isinstance(action.choices, dict) and value not in names:
            import difflib  # for a mistake alone

            near = " or ".join(difflib.get_close_matches(value, names))
            hint = f", did you mean {near}?" if near else ""
            raise UsageError(f"{value}: {self.prog} has no such {action.dest}{hint}")
        super()._check_value(action, value)


def expect_suffix(argument: str, found: str, suffix: str) -> None:
    """Raises a :class:`UsageError` if the name of a file, ``found``, has another suffix."""
    if not found.endswith(suffix):
        raise UsageError(f"{argument} is {found}, expected a name that ends in {suffix}")


def _whole_number(smallest: int, text: str) -> int:
    if not text.isdecimal() or int(text) < smallest:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {smallest}')
    return int(text)


# For ``type`` of an argument.
natural, positive = partial(_whole_number, 0), partial(_whole_number, 1)


def limited(text: str, what: str = "a multiplier, expected 0 to 64, above 0") -> float:
    """Parses a number above 0, at most 64, for ``type`` of an argument; others are errors."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not {what}")
    return value


def without_matrix_threads() -> None:
    """Keeps NumPy, if not yet imported, from starting threads that a short job has no use for."""
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def report(options: argparse.Namespace, document: object, text: str) -> None:
    """Prints what a command found: with ``--json`` the document, otherwise the text for people."""
    import json  # not for --help

    print(json.dumps(document) if options.json else text)


def remark(options: argparse.Namespace, text: str) -> None:
    """Prints a line beside the report, on standard error where ``--json`` has the other stream."""
    print(text, file=sys.stderr if options.json else sys.stdout, flush=True)


def command_line(words: Sequence[str], launcher: str = "") -> str:
    """Returns the line that gives a command and its arguments again, as this process was started.

    ``launcher`` is what started the process, such as torchrun.
    """
    started = Path(sys.argv[0])
    if started.suffix == ".py" and started.parent.name == "scripts":
        return shlex.join([launcher or "python", f"scripts/{words[0]}.py", *words[1:]])
    program = ["-m", "tinynet"] if launcher and started.name == "__main__.py" else ["tinynet"]
    return shlex.join([*([launcher] if launcher else []), *program, *words])


def run_and_exit(job: Callable[[], int | None]) -> NoReturn:
    """Runs a command and exits with its status.

    A ValueError or OSError is something the user can put right: one line on standard error and
    exit status 2. Anything else is a fault of ours and keeps its traceback. ``job`` returns the
    exit status, or None for 0.
    """
    # A stream that was closed before Python started is None here, and its output goes nowhere.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (as long as we run)
    try:
        status = job()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output, such as head, had enough. Python flushes again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (ValueError, OSError) as error:
        print(f"error: {_one_line(error)}", file=sys.stderr)
        raise SystemExit(USER_ERROR) from None
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(status or 0)


def _one_line(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__
