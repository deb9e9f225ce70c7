from __future__ import annotations

import subprocess
import sys

import pytest

from mogul_assets.destinations import TYPES, load_type
from mogul_assets.destinations.base import Destination
from mogul_assets.errors import ConfigurationError


@pytest.mark.parametrize("word", TYPES)
def test_every_type_loads_and_is_a_destination(word):
    assert issubclass(load_type(word), Destination)


def test_an_unknown_type_is_refused_with_the_types_there_are():
    with pytest.raises(ConfigurationError, match="no destination type 'duckbd'") as refused:
        load_type("duckbd")
    assert ", ".join(sorted(TYPES)) in refused.value.remedy


def test_knowing_the_types_imports_none_of_them():
    said = "import sys, mogul_assets.destinations; print({'duckdb', 'dagster', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True).stdout == "set()\n"
