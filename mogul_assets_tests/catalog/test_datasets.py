"""The catalogue: thirteen datasets, column by column."""

from mogul_assets.catalog.datasets import DATASETS


def test_there_are_thirteen_datasets():
    assert len(DATASETS) == 13
