"""The README says of every error what it means, and whether it passes."""

import re
from inspect import getmembers, isclass

from mogul_assets import errors
from mogul_assets.refresh import ChecksFailed
from mogul_assets_tests.docs.pages import DOCS

ROWS = re.findall(r"^\| (passes|stays) \| (`[^|]+`) \|", (DOCS.parent / "README.md").read_text("utf-8"), re.MULTILINE)
ROOTS = {errors.MogulError, errors.TransientError, errors.TerminalError}


def test_every_class_has_its_row_and_passes_or_stays_as_it_says():
    told = {name: how for how, names in ROWS for name in re.findall(r"`(\w+)`", names)}
    kinds = [
        kind for _, kind in getmembers(errors, isclass) if issubclass(kind, errors.MogulError) and kind not in ROOTS
    ]
    assert told == {kind.__name__: "passes" if issubclass(kind, errors.TransientError) else "stays" for kind in kinds}


def test_a_modules_own_class_goes_by_the_name_of_the_one_that_is_explained():
    assert errors.kind_of(ChecksFailed("", [], {})) is errors.DataRefused
    assert errors.kind_of(errors.DestinationUnreachable("")) is errors.DestinationUnreachable
