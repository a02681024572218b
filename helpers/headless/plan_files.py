"""How is the plan of a sweep read from a YAML file?

    notebook: 03
    grid:
      learning_rate: [0.02, 0.04]
      seed: 0:5
    fixed: {epochs: 1}

Every error names its line.
"""

from collections.abc import Iterator
from pathlib import Path
import yaml
from helpers.headless.notebooks import find_notebook, parameter_reader
from helpers.headless.plans import Plan, parse_values

SECTIONS = {"notebook", "grid", "ranges", "random", "fixed", "seed"}  # the fields of a Plan


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises FileNotFoundError, or ValueError with the line of the mistake."""
    try:
        root = yaml.compose(path.read_bytes())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{path}, line {line}: {error.problem}.") from error
    except (yaml.YAMLError, UnicodeError) as error:
        raise ValueError(f"{path} is no text in UTF-8: {error}.") from error
    try:
        sections = dict(_entries(root, "a plan"))
        unknown = sections.keys() - SECTIONS
        if unknown:
            name = min(unknown)
            told = f"{name!r} is none of {', '.join(sorted(SECTIONS))}"
            raise _Wrong(sections[name], told)
        if "notebook" not in sections:
            raise _Wrong(root, "it names no notebook, such as notebook: 03")
        return _plan(sections)
    except _Wrong as wrong:
        line = wrong.node.start_mark.line + 1 if wrong.node is not None else 1
        raise ValueError(f"{path}, line {line}: {wrong}.") from wrong


class _Wrong(Exception):
    def __init__(self, node: yaml.Node | None, message: str) -> None:
        super().__init__(message.removesuffix("."))
        self.node = node


def _plan(sections: dict[str, yaml.Node]) -> Plan:
    name = _text(sections["notebook"])
    try:
        check = parameter_reader(find_notebook(name))
    except ValueError as error:
        raise _Wrong(sections["notebook"], str(error)) from error

    def checked(parameter: str, node: yaml.Node, values: list[str]) -> list[str]:
        try:
            for value in values:
                check(parameter, value)
        except ValueError as error:
            raise _Wrong(node, str(error)) from error
        return values

    grid = {
        parameter: checked(parameter, node, _texts(node))
        for parameter, node in _entries(sections.get("grid"), "grid")
    }
    ranges = {
        parameter: ":".join([*checked(parameter, node, _text(node).split(":")[:2]),
                             *_text(node).split(":")[2:]])
        for parameter, node in _entries(sections.get("ranges"), "ranges")
    }  # fmt: skip
    fixed = {
        parameter: checked(parameter, node, [_text(node)])[0]
        for parameter, node in _entries(sections.get("fixed"), "fixed")
    }
    numbers = {name: _number(sections[name]) for name in ("random", "seed") if name in sections}
    return Plan(name, grid, ranges, fixed=fixed, **numbers)


def _entries(node: yaml.Node | None, what: str) -> Iterator[tuple[str, yaml.Node]]:
    """Names and their nodes; none for a section that is not there."""
    if node is None and what != "a plan":
        return
    if not isinstance(node, yaml.MappingNode):
        raise _Wrong(node, f"{what} is written as names with values, such as seed: 0:5")
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _Wrong(key, "wanted a name here")
        if key.value in seen:
            raise _Wrong(key, f"{key.value!r} is there twice")
        seen.add(key.value)
        yield key.value, value


def _texts(node: yaml.Node) -> list[str]:
    if isinstance(node, yaml.SequenceNode):
        return [_text(item) for item in node.value]
    return parse_values(_text(node))


def _text(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        raise _Wrong(node, "wanted one value here")
    return node.value


def _number(node: yaml.Node) -> int:
    text = _text(node)
    if not text.isdecimal():
        raise _Wrong(node, f"wanted a whole number, got {text!r}")
    return int(text)
