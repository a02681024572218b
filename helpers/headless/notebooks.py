"""The notebooks of the series and their parameters."""

import ast
import contextlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.files import PROJECT
from helpers.messages import check_name, unknown_name

NOTEBOOKS = PROJECT / "notebooks"


@dataclass(frozen=True)
class Notebook:
    """A notebook of the series. `weights_from` names the notebooks whose weights it reads."""

    name: str  # of its file, without .ipynb
    seconds: int = 30  # its duration with default parameters, on two cores
    weights_from: Mapping[str, str] = field(default_factory=dict)  # by data set, its default first


_TABLES = tomllib.loads((Path(__file__).parent / "notebooks.toml").read_text(encoding="utf-8"))
SERIES = tuple(Notebook(name, **table) for name, table in _TABLES["series"].items())
PROFILES: dict[str, dict[str, dict[str, object]]] = _TABLES["profiles"]


def find_notebook(name: str) -> Notebook:
    """The notebook named "02_train_mnist", for short "02" or "2"; ValueError if there is none."""
    for notebook in SERIES:
        if name == notebook.name or name.zfill(2) == notebook.name.split("_")[0]:
            return notebook
    raise ValueError(unknown_name("notebook", name, [notebook.name for notebook in SERIES]))


def parameters_of(notebook: Notebook) -> dict[str, dict[str, Any]]:
    """The parameters of a notebook, each with its `inferred_type_name`, `default` and `help`."""
    import papermill

    return papermill.inspect_notebook(escape_braces(NOTEBOOKS / f"{notebook.name}.ipynb"))


def escape_braces(path: Path) -> str:
    """The path as text for papermill, which would replace names in braces by parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def settings_for(
    profile: str, assignments: Sequence[str] = (), only: Sequence[str] = ()
) -> dict[str, dict[str, object]]:
    """The parameters of each notebook to run, by name, in the order of the series.

    They are those of the profile, changed by assignments such as "02.epochs=3". `only` names the
    notebooks to run, if not all. Raises ValueError for unknown names or invalid values.
    """
    check_name("profile", profile, PROFILES)
    chosen = {find_notebook(name).name for name in only}
    names = [notebook.name for notebook in SERIES if notebook.name in chosen or not chosen]
    settings = {name: dict(PROFILES[profile].get(name, {})) for name in names}
    for assignment in assignments:
        target, equals, text = assignment.partition("=")
        name, dot, parameter = target.partition(".")
        if not equals or not dot:
            raise ValueError(f"Expected NOTEBOOK.NAME=VALUE (02.epochs=3), got {assignment!r}.")
        notebook = find_notebook(name)
        value = parameter_reader(notebook)(parameter, text, target)
        if notebook.name not in settings:
            raise ValueError(f"{target} is given, but {notebook.name} is not selected to run.")
        settings[notebook.name][parameter] = value
    return settings


def parameter_reader(notebook: Notebook) -> Callable[..., object]:
    """A function `read(name, text, target=name)` for the parameters of a notebook.

    It converts `text` to the type that is annotated in the parameters cell. It raises ValueError
    for an unknown parameter, and as `read_value`; the message calls the parameter `target`.
    """
    known = parameters_of(notebook)
    known.pop("output", None)  # the run sets it

    def read(name: str, text: str, target: str = "") -> object:
        if name not in known:
            raise ValueError(f"{notebook.name}: {unknown_name('parameter', name, known)}")
        return read_value(text, known[name]["inferred_type_name"], target or name)

    return read


def read_value(text: str, kind: str, target: str) -> Any:
    """Convert text to type `kind`. ValueError for another type, an infinite or too small number."""
    if kind == "str":
        return text
    value: object = text
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = ast.literal_eval(text.capitalize() if text in ("true", "false") else text)
    if kind == "float" and type(value) is int:
        value = float(value) if value.bit_length() < 1024 else float("inf")
    if type(value).__name__ != kind:
        raise ValueError(f"{target} must be of type {kind}, got {text!r:.80}.")
    least = _TABLES["least"].get(target.rpartition(".")[2], 0)
    if isinstance(value, int | float) and not least <= value < float("inf"):
        raise ValueError(f"{target} must be a finite number of at least {least}, got {text!r:.80}.")
    return value
