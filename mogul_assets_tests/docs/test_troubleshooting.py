"""Whoever searches the page for the line on the screen must find it."""

import ast
import re
from pathlib import Path

import pytest

import mogul_assets
from mogul_assets_tests.docs.pages import page

ROWS = re.findall(r"^\| `([^`]+)` \| ", page("troubleshooting.md"), re.MULTILINE)


def texts(tree):
    """Each text that a module can say, with ``…`` for what is filled in."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=parts):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)


@pytest.fixture(scope="module")
def said():
    files = Path(mogul_assets.__file__).parent.rglob("*.py")
    return {text for file in files for text in texts(ast.parse(file.read_text(encoding="utf-8")))}


def quotes(line):
    """Matches a text of the code: ``…`` stands for what is filled in there, or for a choice of words."""
    return re.compile("(?:…|.+?)".join(re.escape(part) for part in line.split("…")))


@pytest.mark.parametrize("line", [row for row in ROWS if " " in row])
def test_every_line_on_the_page_is_said_by_the_code(line, said):
    assert any(quotes(line).search(text) for text in said)


def test_the_page_quotes_many():
    assert len([row for row in ROWS if " " in row]) > 30
