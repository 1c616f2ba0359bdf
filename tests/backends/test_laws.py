"""The laws that keep the project simple, checked on the source text."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TWINS = ("torch_impl", "mindspore_impl")
FILES = sorted(
    path.relative_to(ROOT / TWINS[0]).as_posix() for path in (ROOT / TWINS[0]).rglob("*.py")
)
FRAMEWORKS = {"torch", "torchvision", "timm", "mindspore"}

# MindSpore's word for a thing -> PyTorch's. All by which the signatures of a pair may differ.
VOCABULARY = {
    r"\b(learning_rate|share): ms\.Tensor\b": r"\1: float",  # or a graph would have it built in
    r"\bms\.(Tensor|Parameter)\b": "torch.Tensor",
    r"\bnn\.Cell\b": "nn.Module",
    r"\bnn\.SequentialCell\b": "nn.Sequential",
    r"\bconstruct\b": "forward",
}
# And by which their docstrings may.
PROSE = {
    r"\bMindSpore\b": "PyTorch",
    r"\bcell\b": "module",
    r", for PyNative and for graph mode": "",
    r"\bms\.ops\.zeros\(\((.*?)\)\)": r"torch.zeros(\1)",
    r"\(1, 1000\)$": "torch.Size([1, 1000])",
}


def tree(package, file):
    return ast.parse((ROOT / package / file).read_text())


def translated(text, *tables):
    for table in tables:
        for theirs, ours in table.items():
            text = re.sub(theirs, ours, text, flags=re.MULTILINE)
    return text


def public(node):
    """(kind, signature) of every public definition in a module or class, in order."""
    found = []
    for child in node.body:
        if isinstance(child, ast.FunctionDef):
            if not child.name.startswith("_") or child.name in ("__init__", "__call__"):
                found.append(("def", f"{child.name}({ast.unparse(child.args)})", returned(child)))
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            bases = ", ".join(map(ast.unparse, child.bases))
            decorators = ", ".join(map(ast.unparse, child.decorator_list))
            found.append(("class", child.name, bases, decorators, public(child)))
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    found.append(("name", target.id))
    return found


def returned(function):
    return ast.unparse(function.returns) if function.returns else ""


def docstrings(node, prefix=""):
    """Qualified name -> docstring of every public class and function."""
    found = {}
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.ClassDef):
            continue
        if not child.name.startswith("_") or child.name == "__call__":
            found[prefix + child.name] = ast.get_docstring(child)
            if isinstance(child, ast.ClassDef):
                found |= docstrings(child, f"{prefix}{child.name}.")
    return found


def imported(package, file):
    """Top-level packages imported anywhere in a file, inside functions too."""
    names = set()
    for node in ast.walk(tree(package, file)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{package}/{file}: imports are absolute here"
            names.add((node.module or "").partition(".")[0])
    return names


def sources(package):
    return [str(path.relative_to(ROOT / package)) for path in (ROOT / package).rglob("*.py")]


# The twins are alike


def test_the_twins_have_the_same_files():
    assert len(FILES) > 5
    assert sorted(map(Path.as_posix, map(Path, sources(TWINS[1])))) == FILES


@pytest.mark.parametrize("file", FILES)
def test_a_pair_has_the_same_public_definitions_in_the_same_order(file):
    torch, mindspore = (public(tree(twin, file)) for twin in TWINS)
    if file in OWN_DEFINITIONS:
        torch, mindspore = torch[:1], mindspore[:1]
    assert ast.literal_eval(translated(repr(mindspore), VOCABULARY)) == torch


@pytest.mark.parametrize("file", FILES)
def test_a_pair_is_documented_in_the_same_words(file):
    torch, mindspore = (docstrings(tree(twin, file)) for twin in TWINS)
    for name, ours in torch.items():
        name_there = name.replace(".forward", ".construct")
        if name_there not in mindspore and file in OWN_DEFINITIONS:
            continue
        theirs = mindspore[name_there]
        if (file, name) in OWN_WORDS:
            assert theirs != ours
        else:
            assert translated(theirs or "", VOCABULARY, PROSE) == (ours or ""), name


# Where more than the first definition is a framework's own: its kernels, and what else it takes to
# record a compiled graph.
OWN_DEFINITIONS = {"tuning.py", "probe/recording.py"}
# Where the frameworks' own file formats, and what slows them, are described.
OWN_WORDS = {("native_files.py", name) for name in ("load_native", "save_native", "save_training")}
OWN_WORDS |= {("tuning.py", "tune_process")}


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("file", ["blocks.py", "model.py"])
def test_a_twin_decides_no_number(twin, file):
    # Law 2: sizes arrive resolved. Nothing that builds a net may round or divide one.
    for node in ast.walk(tree(twin, file)):
        assert not isinstance(node, ast.FloorDiv | ast.Div | ast.Mod), f"{file}: divides"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("round", "int", "max", "min"), f"{file}:{node.lineno}"
    assert "math" not in imported(twin, file)


# Who may import whom


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("tinynet", FRAMEWORKS | {"parity", *TWINS}),
        ("parity", FRAMEWORKS | {*TWINS}),
        ("torch_impl", {"mindspore", "mindspore_impl", "parity"}),
        ("mindspore_impl", {"torch", "torchvision", "timm", "torch_impl", "parity"}),
    ],
)
def test_what_a_package_never_imports(package, forbidden):
    assert sources(package)
    for file in sources(package):
        onnx = set() if file.startswith("deploy/") else {"onnx", "onnxruntime"}
        own = onnx if package == "tinynet" else set()
        assert imported(package, file).isdisjoint(forbidden | own | {"scripts", "tests"}), file


def test_the_contracts_of_import_linter():
    # In its own process, since it reads every module of the project again.
    code = "import importlinter.cli as i, sys; sys.exit(i.lint_imports(no_cache=True))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_importing_the_family_and_parity_loads_no_framework():
    modules = [
        f"{package}.{file[:-3].replace(os.sep, '.').removesuffix('.__init__')}"
        for package in ("tinynet", "parity")
        for file in sources(package)
        if file != "__init__.py"
    ]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout.split()
    assert set(modules) <= set(loaded)
    assert (FRAMEWORKS | {*TWINS}).isdisjoint(loaded)
