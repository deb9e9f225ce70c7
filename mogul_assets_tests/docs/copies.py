"""A copy of the project's source, changed as a page says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Copy:
    """The packages in a folder of their own; processes started by it import them from there."""

    def __init__(self, folder, packages=("mogul_assets",)):
        self.folder = folder
        for package in packages:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))

    def insert(self, file, text, *, before):
        path = self.folder / file
        source = path.read_text(encoding="utf-8")
        assert source.count(before) == 1
        path.write_text(source.replace(before, text + before), encoding="utf-8")

    def python(self, *arguments):
        """Runs Python there; what it says is shown where it fails."""
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "DAGSTER_HOME": str(self.folder)}
        environment.pop("MOGUL_FILE", None)
        command = [sys.executable, *arguments]
        ran = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout
