"""The house stands as its plan says: who imports whom, who may print, what is installed."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from helpers.files import PROJECT

MODULES = {
    path.stem: path for path in (PROJECT / "helpers").glob("*.py") if path.stem != "__init__"
}

# module → what it may import from helpers; the README has the same table in words
MAY_IMPORT = {
    "files": set(),
    "archives": {"files"},
    "data": {"archives", "files", "specs"},
    "own_image": {"files"},
    "augmentation": set(),
    "networks": set(),
    "residual": {"networks"},
    "models": {"networks", "residual"},
    "averaging": set(),
    "epoch": {"data", "device"},
    "device": set(),
    "distributed": {"data", "device", "evaluation", "files", "whole_batch"},
    "whole_batch": set(),
    "claims": set(),
    "history": {"evaluation"},
    "evaluation": {"data"},
    "preconditions": {"data"},
    "training": {
        "averaging",
        "epoch",
        "data",
        "device",
        "distributed",
        "evaluation",
        "history",
        "memory",
        "preconditions",
        "resume",
    },
    "memory": {"data", "device"},
    "resume": {"data", "files", "history"},
    "anatomy": {"evaluation", "models"},
    "recipe": {"augmentation", "data", "device", "distributed", "history", "models", "training"},
    "recipes": {"augmentation", "recipe"},
    "checkpoints": {"models", "files"},
    "error_analysis": {"data", "evaluation", "neighbours"},
    "neighbours": {"evaluation"},
    "label_noise": set(),
    "confident_learning": set(),
    "cross_validation": {
        "augmentation",
        "averaging",
        "data",
        "device",
        "epoch",
        "evaluation",
        "files",
        "networks",
        "neighbours",
        "recipe",
        "residual",
        "training",
    },
    "verdicts": set(),
    "views": {"augmentation", "data", "evaluation"},
    "comparison": set(),
    "side_by_side": set(),
    "audit": {
        "confident_learning",
        "cross_validation",
        "data",
        "neighbours",
        "recipe",
        "verdicts",
    },
    "gallery": {"audit", "files", "verdicts"},
    "review": {"files", "gallery"},
    "doctor": {"archives", "data", "device", "models"},
    "plotting": set(),
    "pictures": {"audit", "data", "evaluation"},
    "runs": {"checkpoints", "data", "files", "history"},
    "parameters": {"files"},
    "engine": set(),
    "series": {"engine", "parameters", "runs", "files"},
    "plans": {"files", "parameters"},
    "plan_files": {"parameters", "plans"},
    "specs": {"archives"},
    "warm_kernels": {"data", "specs"},
    "sweeps": {"clusters", "files", "plans", "series", "warm_kernels"},
    "clusters": {"files", "plans"},
    "sweep_command": {"clusters", "plan_files", "plans", "runs", "series", "sweeps", "terminal"},
    "report": {"runs", "series", "files"},
    "terminal": set(),
    "training_commands": {
        "audit",
        "data",
        "device",
        "distributed",
        "evaluation",
        "gallery",
        "history",
        "recipe",
        "recipes",
        "runs",
        "terminal",
        "views",
    },
    "__main__": {
        "doctor",
        "files",
        "parameters",
        "report",
        "runs",
        "series",
        "sweep_command",
        "terminal",
        "training_commands",
    },
}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "helpers":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("helpers.")}
    return found


def test_every_module_has_its_place():
    assert set(MODULES) == set(MAY_IMPORT)


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_modules_import_what_they_may(name):
    assert imports_of(MODULES[name]) <= MAY_IMPORT[name]


def test_there_are_no_cycles():
    left = {name: set(needs) for name, needs in MAY_IMPORT.items()}
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, f"these import each other: {sorted(left)}"
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short_and_say_what_they_answer(name):
    text = MODULES[name].read_text()
    assert text.count("\n") <= 200
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__main__"}))
def test_helpers_neither_print_nor_show(name):
    calls = [
        node.func
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Call)
    ]
    called = {getattr(func, "id", getattr(func, "attr", "")) for func in calls}
    assert not called & {"print", "show", "cuda"}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"__main__"}))
def test_public_functions_are_documented(name):
    for node in ast.parse(MODULES[name].read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name}.{node.name} has no docstring"


def test_importing_seeds_nothing_and_is_light():
    """Nothing heavy beyond torch is imported by what a notebook uses to train."""
    code = (
        "import sys, torch; before = torch.initial_seed()\n"
        "from helpers import augmentation, data, device, evaluation, models, training\n"
        "assert torch.initial_seed() == before\n"
        "heavy = {'pandas', 'matplotlib', 'seaborn', 'torchvision', 'torchmetrics', 'sklearn'}\n"
        "print(*heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_conda_and_pip_users_get_the_same():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["test"]}
    wanted |= {f"python{project['requires-python']}"}
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = (entry["pip"] for entry in environment if isinstance(entry, dict))
    named = [*by_pip, *(entry for entry in environment if isinstance(entry, str))]
    others = {"pytorch": "torch", "jupyter_client": "jupyter-client"}  # their names at conda-forge
    conda = {re.sub(r"^\w+(?=[<>=])", lambda m: others.get(m[0], m[0]), line) for line in named}
    assert conda - {"pip", "setuptools>=68"} == wanted


def test_what_is_imported_is_declared():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=!]", line)[0] for line in project["dependencies"]}
    names = {
        "PIL": "pillow",
        "yaml": "pyyaml",
        "jupyter_client": "jupyter-client",
        "sklearn": "scikit-learn",
    }
    imported = set()
    for path in MODULES.values():
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


def test_the_tree_names_no_machine():
    """No file of the project tells where on somebody's machine it was made."""
    anybody = re.compile("|".join(["/" + "home/", "/" + "Users/", "/" + "root/", "/" + "work/"]))
    folders = ("helpers", "notebooks", "tests", "data", "docs")
    files = [path for folder in folders for path in (PROJECT / folder).rglob("*")]
    files += [*(PROJECT / "benchmarks").glob("*"), *(PROJECT / "benchmarks").glob("[cr]*/*")]
    files += [path for path in PROJECT.iterdir() if path.is_file() and path.name != ".coverage"]
    texts = [p for p in files if p.suffix in TEXT and p.is_file() and "ubyte" not in p.name]
    assert len(texts) > 40
    for path in texts:
        found = anybody.search(path.read_text(errors="replace"))
        assert not found, f"{path} holds {found[0]}"


def test_the_readme_is_whole_and_its_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "data/README.md"):
        text = (PROJECT / name).read_text()
        assert not re.findall(r"\b[A-Z]{3,}_[A-Z]+\b(?!=)", text.replace("PIP_ARGS", "")), name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert ((PROJECT / name).parent / target).exists(), f"{name} links to {target}"


def test_every_module_and_dependency_is_in_the_readme():
    text = (PROJECT / "README.md").read_text()
    for name in set(MODULES) - {"__main__"}:
        assert f"`{name}`" in text
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
        assert re.split(r"[<>=!]", line)[0] in text
