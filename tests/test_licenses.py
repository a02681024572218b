"""All installed packages may be used and redistributed together with this project (MIT)."""

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.files import PROJECT

# patterns for the metadata of a package; the first match is the license in the table
FREE = {
    "MPL": r"\bMPL\b|Mozilla Public", "Apache": "Apache", "BSD": r"\bBSD\b",
    "MIT": r"\bMIT\b|HPND", "PSF": r"\bPSF\b|Python Software Foundation", "ISC": r"\bISC\b",
    "Unlicense": "Unlicense",
}  # fmt: skip
STRICT = r"\b[AL]?GPL|General Public|SSPL|Business Source|non-?commercial"
EXTRAS = ("", "test", "audit", "export")


@cache
def installed() -> set[str]:
    """The packages of pyproject.toml that are installed here, with all dependencies."""
    found: set[str] = set()
    todo = [("image-classification-notebooks", EXTRAS)]
    while todo:
        name, extras = todo.pop()
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:  # for another system, or an alternative
            continue
        found.add(name)
        for requirement in map(Requirement, requires):
            marker, dependency = requirement.marker, canonicalize_name(requirement.name)
            if dependency in found or (
                marker and not any(marker.evaluate({"extra": extra}) for extra in extras)
            ):
                continue
            todo.append((dependency, ("", *requirement.extras)))
    return found


def words(name: str) -> str:
    """The license in the metadata of a package: an expression, classifiers, or text."""
    about = distribution(name).metadata
    classes = [c for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    text = about.get("License", "").strip()
    return "; ".join([about.get("License-Expression", ""), *classes, text[:200]])


def kind_of(text: str) -> str:
    return next((kind for kind, seen in FREE.items() if re.search(seen, text)), "")


def license_of(name: str) -> str:
    return kind_of(words(name))


def direct() -> Iterator[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirements in (project["dependencies"], *project["optional-dependencies"].values()):
        yield from (canonicalize_name(Requirement(line).name) for line in requirements)


def test_no_package_has_a_strict_or_unknown_license():
    names = installed()
    assert {"torch", "numpy", "jupyter-server", "cleanlab"} <= names
    strict = {name: words(name) for name in names if re.search(STRICT, words(name))}
    assert not strict
    unknown = {name: words(name) for name in names if not license_of(name)}
    # dependencies of torch for CUDA: free of charge, but proprietary
    assert {n for n in unknown if not re.match("nvidia-|cuda-toolkit", n)} == set()


@pytest.mark.parametrize("text", ["AGPL-3.0-or-later", "GNU Affero General Public License v3"])
def test_an_agpl_license_is_detected_as_strict(text):
    assert re.search(STRICT, text)
    assert not re.search(STRICT, "Apache-2.0 AND BSD-3-Clause AND MPL-2.0")


@pytest.mark.parametrize("text", ["NO IMPLIED LICENSE", "DISCLAIMER", "NOT PERMITTED"])
def test_no_license_is_found_within_a_word(text):
    assert kind_of(text) == ""


def test_the_table_of_licenses_lists_the_installed_packages():
    text = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z]\w+) \| ([a-z][\w, -]+) \|$", text, flags=re.MULTILINE)
    listed = {name: kind for kind, names in rows for name in names.split(", ")}
    found = {name: license_of(name) for name in direct() if name in installed()}
    assert {name: listed.get(name) for name in found} == found
    assert set(listed) == set(direct())
