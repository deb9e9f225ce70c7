"""``python -m mogul_assets.cli``, where the script ``mogul`` is not installed."""

from mogul_assets.cli import main

main()
