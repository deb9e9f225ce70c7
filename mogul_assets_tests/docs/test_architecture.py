"""The page names files that are there, and layers that hold."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

import mogul_assets
from mogul_assets_tests.docs.pages import page

PACKAGE = Path(mogul_assets.__file__).parent
TEXT = page("architecture.md")
LEAVES = {"errors", "guard", "processes", "timetable"}
WITH_DAGSTER = set(
    re.findall(r"`(\w+)`", TEXT.partition("- Dagster is imported by")[2].partition("everything else")[0])
)


def allowed():
    rows = dict(re.findall(r"^\| `(\w+)` \| ?(.*) ?\|$", TEXT.partition("## Layers")[2], re.MULTILINE))
    named = {part: set(re.findall(r"`(\w+)`", told)) for part, told in rows.items()}
    named["automation"] |= named["assets"]
    del named["cli"]
    return named


def imported(file):
    """The modules that a file imports when it runs, wherever in it."""
    pending = [ast.parse(file.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                continue
            case ast.ImportFrom(module="mogul_assets", names=names):
                yield from (f"mogul_assets.{one.name}" for one in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case ast.Import(names=names):
                yield from (one.name for one in names)
        pending.extend(ast.iter_child_nodes(node))


@pytest.fixture(scope="module")
def imports():
    """What each part of the package imports."""
    found = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        part = file.relative_to(PACKAGE).with_suffix("").parts[0]
        found[part].update(imported(file))
    return found


def test_every_folder_has_its_row():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders - {"cli"} <= allowed().keys()


@pytest.mark.parametrize("part", allowed())
def test_a_part_imports_only_what_the_page_lets_it(part, imports):
    ours = {name.split(".")[1] for name in imports[part] if name.startswith("mogul_assets.")}
    assert ours - {part} - LEAVES <= allowed()[part]


def test_dagster_is_imported_only_where_the_page_says(imports):
    using = {part for part, names in imports.items() if any(name.partition(".")[0] == "dagster" for name in names)}
    assert using == WITH_DAGSTER


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`([\w/]+\.py)`", TEXT))))
def test_every_file_that_the_page_names_is_there(file):
    assert (PACKAGE / file).is_file()
