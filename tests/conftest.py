import runpy
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def run_script(monkeypatch, capsys):
    """Runs a script in this process, where frameworks are imported once, as in one of its own.

    Gives its exit status and what it wrote to standard output and standard error.
    """

    def run(name, *arguments):
        path = str(SCRIPTS / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
        # It puts the path right, for this run too.
        monkeypatch.delitem(sys.modules, "_command", raising=False)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(path, run_name="__main__")
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return run
