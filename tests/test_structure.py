"""The structure of the project: subpackages, allowed imports, dependencies, links."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from helpers.files import PROJECT
from tests.tools import cells, prose, slug

HELPERS = PROJECT / "helpers"
SOURCES = sorted(HELPERS.rglob("*.py"))
TOP_LEVEL = {"device", "files", "messages", "claims", "check", "runs"}
# subpackage or top-level module → what it may import from others
MAY_IMPORT = {
    "files": set(),
    "device": set(),
    "messages": set(),
    "claims": {"files"},
    "check": {"files", "messages"},
    "data": {"files", "messages"},
    "models": {"files", "messages", "data"},
    "evaluation": {"files", "device", "data", "models"},
    "training": {"files", "device", "messages", "data", "models", "evaluation"},
    "plotting": {"data", "evaluation"},
    "labels": {
        "files", "device", "messages", "data", "models", "evaluation", "training", "plotting",
    },
    "runs": {"__version__", "files", "data", "models", "evaluation", "training"},
    "headless": {
        "__version__", "files", "device", "messages", "claims", "data", "models", "evaluation",
        "training", "labels", "runs",
    },
    "__main__": {"headless"},
}  # fmt: skip
SUBPACKAGES = sorted(set(MAY_IMPORT) - TOP_LEVEL - {"__main__"})


def part_of(path: Path) -> str:
    """The subpackage of a file in helpers/, or its name if it is a top-level module."""
    return path.relative_to(HELPERS).parts[0].removesuffix(".py")


def imports(source: str) -> Iterator[tuple[str, ...]]:
    """The dotted names below `helpers` that a source imports, such as ("data", "splits")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
            parts = tuple(node.module.split(".")[1:])
            yield parts
            yield from ((*parts, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            yield from (tuple(name[1:]) for name in names if name[0] == "helpers" and name[1:])


def test_the_package_is_small():
    entries = {path.name for path in HELPERS.iterdir() if path.name != "__pycache__"}
    assert len(entries) <= 15, sorted(entries)
    assert len(SOURCES) <= 58
    assert sum(path.read_text(encoding="utf-8").count("\n") for path in SOURCES) <= 8_608


@pytest.mark.parametrize("subpackage", SUBPACKAGES)
def test_the_init_of_a_subpackage_imports_each_name_once_and_none_private(subpackage):
    tree = ast.parse((HELPERS / subpackage / "__init__.py").read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [alias.name for node in imported for alias in node.names]
    assert names
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("_")]
    assert {(node.module or "").rpartition(".")[0] for node in imported} == {
        f"helpers.{subpackage}"
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(HELPERS).as_posix())
def test_subpackages_import_only_allowed_interfaces(path):
    own = part_of(path)
    for parts in imports(path.read_text(encoding="utf-8")):
        if parts[0] != own and own != "__init__":
            assert parts[0] in MAY_IMPORT[own], f"{own} must not import {parts[0]}"
            submodule = HELPERS.joinpath(*parts[:2]).with_suffix(".py")
            inside = parts[:2] == ("headless", "cli") and own == "__main__"
            assert len(parts) < 2 or not submodule.exists() or inside, ".".join(parts)


def test_there_are_no_cycles():
    left = {name: set(needs) for name, needs in MAY_IMPORT.items()}
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


def users() -> list[tuple[str, str]]:
    """Names and source code of the notebooks and benchmarks."""
    found = []
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        found.append((path.name, "\n".join(cell.source for cell in cells(path, "code"))))
    benchmarks = sorted((PROJECT / "benchmarks").rglob("*.py"))
    return found + [(path.name, path.read_text(encoding="utf-8")) for path in benchmarks]


@pytest.mark.parametrize(("name", "source"), users(), ids=lambda text: text[:30].split("\n")[0])
def test_notebooks_and_benchmarks_import_no_submodules(name, source):
    for parts in imports(source):
        submodule = HELPERS.joinpath(*parts[:2])
        assert len(parts) < 2 or not submodule.with_suffix(".py").exists(), ".".join(parts)


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_functions_fit_on_a_screen():
    """`fit` shows the whole loop; the signature of `sweep` lists its thirteen options."""
    allowed = {"fit": 60, "sweep": 60}
    for path in SOURCES:
        for node in functions(path):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= allowed.get(node.name, 49), f"{path.name}: {node.name} has {lines}"


def test_fit_has_few_arguments():
    (fit,) = (f for f in functions(HELPERS / "training" / "loop.py") if f.name == "fit")
    assert len(fit.args.args) == 3
    assert len(fit.args.args) + len(fit.args.kwonlyargs) <= 13


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(HELPERS).as_posix())
def test_helpers_are_documented_and_neither_print_nor_show(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    called = {getattr(func, "id", getattr(func, "attr", "")) for func in calls}
    allowed = {"print"} if path.name == "terminal.py" else set()
    assert not called & {"print", "show", "cuda"} - allowed
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name} has no docstring"


# non-atomic writes, and why they are allowed, by module and function
NON_ATOMIC = {
    ("data/pictures.py", "to_png"): "into memory",
    ("headless/runner.py", "_papermill_options"): "into a temporary folder",
    ("models/export.py", "_onnx"): "into a temporary folder, where it is tried out",
    ("models/export.py", "_torchscript"): "into memory, and then as above",
    ("training/resume.py", "save"): "into memory",
}
WRITES = {"write_text", "write_bytes", "touch", "save_file", "savefig", "savez", "savetxt", "dump"}
RETURNS_TEXT = {"to_csv", "to_json", "to_html", "to_markdown"}  # unless a path is given
OWN_SAVE = {"runs", "models", "checkpoints", "self", "manager", "safetensors.torch"}


def calls(node: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.Call]]:
    """The calls in a source, each with the name of the enclosing function."""
    for child in ast.iter_child_nodes(node):
        name = child.name if isinstance(child, ast.FunctionDef) else inside
        if isinstance(child, ast.Call):
            yield name, child
        yield from calls(child, name)


def called(call: ast.Call) -> tuple[str, str]:
    """The object and the method name, such as ("torch", "save")."""
    if isinstance(call.func, ast.Attribute):
        return ast.unparse(call.func.value), call.func.attr
    return "", getattr(call.func, "id", "")


def mode(call: ast.Call) -> str:
    """The mode of an `open`, if it is a literal."""
    path = 0 if isinstance(call.func, ast.Attribute) and call.func.attr == "open" else 1
    given = [*call.args[path:], *(word.value for word in call.keywords if word.arg == "mode")]
    texts = [
        value.value
        for value in given
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]
    return next((text for text in texts if re.fullmatch("[rwxabt+]+", text)), "r")


def writes(call: ast.Call) -> bool:
    """Whether a call writes to a file."""
    owner, name = called(call)
    if name in RETURNS_TEXT:
        return bool(call.args) or any(word.arg == "path_or_buf" for word in call.keywords)
    if name in ("open", "ZipFile"):
        return bool(set(mode(call)) & set("wxa+"))
    return name in WRITES or (name == "save" and owner not in OWN_SAVE)


def test_only_the_module_files_writes_to_files():
    found = {
        (path.relative_to(HELPERS).as_posix(), name)
        for path in SOURCES if path != HELPERS / "files.py"
        for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))) if writes(call)
    }  # fmt: skip
    assert found == set(NON_ATOMIC)


def reads_by_the_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text in an encoding that depends on the machine."""
    owner, name = called(call)
    if name == "open":
        text = "b" not in mode(call) and owner not in ("os", "Image", "zipfile")
    else:
        text = name in ("read_text", "write_text")
    return text and "encoding" not in {word.arg for word in call.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(HELPERS).as_posix())
def test_text_is_read_with_an_explicit_encoding(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [ast.unparse(call) for _, call in calls(tree) if reads_by_the_locale(call)]


@pytest.mark.parametrize(
    ("source", "writing", "by_locale"),
    [
        ("path.write_text(x)", True, True),
        ("path.write_text(x, encoding='utf-8')", True, False),
        ("open(path)", False, True),
        ("open(path, 'rb')", False, False),
        ("open('w', mode='r', encoding='utf-8')", False, False),
        ("open('r', mode='w', encoding='utf-8')", True, False),
        ("zipfile.ZipFile(path, 'w')", True, False),
        ("path.open('a')", True, True),
        ("path.open()", False, True),
        ("Image.open(path)", False, False),
        ("frame.to_csv('x.csv')", True, False),
        ("frame.to_csv(path_or_buf=path)", True, False),
        ("frame.to_csv(index=False)", False, False),
        ("torch.save(x, path)", True, False),
        ("np.save(path, x)", True, False),
        ("safetensors.torch.save(x)", False, False),
        ("safetensors.torch.save_file(x, path)", True, False),
        ("picture.resize(x).save(path)", True, False),
    ],
)
def test_writing_calls_and_missing_encodings_are_detected(source, writing, by_locale):
    ((_, call), *_) = calls(ast.parse(source))
    assert (writes(call), reads_by_the_locale(call)) == (writing, by_locale)


def loaded_by(code: str, *names: str) -> set[str]:
    """Which of the modules a new process has imported after some code."""
    code += f"\nimport sys; print(*set({names}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT
    )
    return set(done.stdout.split())


@pytest.mark.medium
def test_training_imports_nothing_heavy_but_torch_and_seeds_nothing():
    code = (
        "import torch; before = torch.initial_seed()\n"
        "from helpers import data, device, evaluation, models, training\n"
        "assert torch.initial_seed() == before"
    )
    heavy = (
        "pandas",
        "matplotlib",
        "seaborn",
        "torchvision",
        "torchmetrics",
        "sklearn",
        "anywidget",
    )
    assert loaded_by(code, *heavy, "papermill", "distributed") == set()


@pytest.mark.medium
def test_plotting_imports_neither_training_nor_labels_nor_headless():
    modules = ("helpers.training", "helpers.labels", "helpers.headless")
    assert loaded_by("from helpers import data, plotting", *modules) == set()


def test_the_command_line_answers_without_torch():
    code = "from helpers.headless import cli"
    assert loaded_by(code, "torch", "pandas", "numpy", "papermill", "distributed") == set()


def test_conda_and_pip_install_the_same_packages():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    expected = {*project["dependencies"], *project["optional-dependencies"]["test"]}
    expected |= {f"python{project['requires-python']}"}
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = (entry["pip"] for entry in environment if isinstance(entry, dict))
    named = [*by_pip, *(entry for entry in environment if isinstance(entry, str))]
    others = {"pytorch": "torch"}  # the name at conda-forge
    conda = {re.sub(r"^\w+(?=[<>=])", lambda m: others.get(m[0], m[0]), line) for line in named}
    assert conda - {"pip", "setuptools>=68", "--editable ."} == expected


def test_each_upper_bound_of_a_dependency_has_its_reason():
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    content, lines = tomllib.loads(text), text.splitlines()
    project = content["project"]
    named = [*content["build-system"]["requires"], *project["dependencies"]]
    named += itertools.chain(*project["optional-dependencies"].values())
    upper_bounds = [
        (requirement, part)
        for requirement in named
        for part in re.findall(r"(?:<=?|!=|[=~]=)([\d.]+\d)", requirement)
    ]
    assert upper_bounds
    for requirement, version in upper_bounds:
        row = next(i for i, line in enumerate(lines) if f'"{requirement}"' in line)
        above = row
        while lines[above - 1].strip().startswith("#"):
            above -= 1
        reason = " ".join(line.partition("#")[2] for line in lines[above : row + 1])
        assert version in reason, f"{requirement}: a comment does not say why not {version}"


def test_what_is_imported_is_declared():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["export"]]
    declared = {re.split(r"[<>=!]", line)[0] for line in lines}
    names = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn"}
    imported = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    third_party = {
        names.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"helpers"}
    }
    assert third_party <= declared


TEXT = {".py", ".md", ".toml", ".yml", ".ipynb", ".json", ".html", ""}


def test_no_file_contains_a_local_path():
    """No file contains a path of the machine on which it was made."""
    local_path = re.compile("|".join(["/" + "home/", "/" + "Users/", "/" + "root/", "/" + "work/"]))
    folders = ("helpers", "notebooks", "tests", "data", "docs")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*")]
    files += [*(PROJECT / "benchmarks").glob("*"), *(PROJECT / "benchmarks").glob("[cr]*/*")]
    files += [path for path in PROJECT.iterdir() if path.is_file() and path.name != ".coverage"]
    texts = [p for p in files if p.suffix in TEXT and p.is_file() and "ubyte" not in p.name]
    assert len(texts) > 40
    for path in texts:
        found = local_path.search(path.read_text(errors="replace"))
        assert not found, f"{path} holds {found[0]}"


RESULTS = PROJECT / "benchmarks" / "results"  # the only one that a page links to
PAGES = [
    *PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"),
    *PROJECT.glob("helpers/models/weights/*/*.md"),
    PROJECT / "data" / "README.md", PROJECT / "benchmarks" / "README.md",
    *PROJECT.glob("notebooks/*.ipynb"), *PROJECT.glob("notebooks/exercises/*.ipynb"),
    *PROJECT.glob("notebooks/exercises/s*/*.*"),  # the student versions and the solutions
]  # fmt: skip


@cache
def text_of(page: Path) -> str:
    """A page, or the prose of a notebook."""
    return prose(page) if page.suffix == ".ipynb" else page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)]+)\)", text_of(page)):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_file() or path == RESULTS, f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(path), flags=re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name} links to {target}"
