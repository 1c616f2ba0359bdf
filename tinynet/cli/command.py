"""What all scripts share at the command line: one-line errors and exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

USER_ERROR = 2


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps the layout of its texts and errs in one line."""

    def __init__(self, description: str, epilog: str = ""):
        super().__init__(
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Prints what is wrong with the arguments and exits with status 2."""
        print(f"error: {message} (--help tells more)", file=sys.stderr)
        raise SystemExit(USER_ERROR)

    def expect_suffix(self, argument: str, found: str, suffix: str) -> None:
        """Exits as :meth:`error` does if the name of a file has another end."""
        if not found.endswith(suffix):
            self.error(f"{argument} is {found}, expected a name that ends in {suffix}")


def positive(text: str) -> int:
    """A whole number from 1, for ``type`` of an argument."""
    return _whole_number(text, 1)


def natural(text: str) -> int:
    """A whole number from 0, for ``type`` of an argument."""
    return _whole_number(text, 0)


def _whole_number(text: str, smallest: int) -> int:
    if not text.isdecimal() or int(text) < smallest:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {smallest}')
    return int(text)


def without_matrix_threads() -> None:
    """Keeps NumPy, if not yet imported, from starting threads for products of matrices.

    For a short job that multiplies none, where they are all cost.
    """
    if "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Runs a script's main function and exits.

    A ValueError or OSError is something the user can put right: one line on standard error and
    exit status 2. Anything else is a fault of ours and keeps its traceback.

    Args:
        main: does the job; returns the exit status, None for success.
    """
    # A stream that was closed before Python started is None here, and nobody waits for it.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 (as long as we run)
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output, head for one, had enough. Python flushes again when it ends.
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
