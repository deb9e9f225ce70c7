"""Two years of a project, day by day: does its folder grow, does a day take longer?

``python -m benchmarks.years [--days 730 --retention 10 --customers 150 --whole]``: the days of
``mogul_assets_tests/test_years.py``, more of them. Prints what the days were every thirty days, and at the end the last
thirty in proportion to the days 30 to 60. Seconds are wall time; all else is counted. ``--whole`` refreshes all
thirteen datasets and delivers movements too, four times as slow.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mogul_assets_tests.lived import lived

MONTH = 30


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--days", type=int, default=730)
    arguments.add_argument("--retention", type=int, default=10)
    arguments.add_argument("--customers", type=int, default=150)
    arguments.add_argument("--whole", action="store_true")
    asked = arguments.parse_args()
    if asked.days < 2 * MONTH:
        arguments.error(f"{2 * MONTH} days at least")
    folder = Path(tempfile.mkdtemp(prefix="mogul-years-"))
    months, found, began = [], [], time.perf_counter()
    try:
        brief = not asked.whole
        start = datetime.now(UTC).replace(hour=2) - timedelta(days=asked.days + 1)
        days = lived(folder, asked.days, start=start, retention=asked.retention, customers=asked.customers, brief=brief)
        for number, day in enumerate(days, 1):
            found.append({"disk": day.disk, "steps": day.steps, "requests": day.requests, "seconds": took(began)})
            began = time.perf_counter()
            if number % MONTH == 0:
                months.append(mean(found[-MONTH:]))
                print(f"{number:4} days: {told(months[-1])}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    last, first = mean(found[-MONTH:]), mean(found[MONTH : 2 * MONTH])
    print("the last 30 days in proportion to the days 30 to 60:")
    print(", ".join(f"{name} {last[name] / first[name]:.2f}" for name in last))


def took(began: float) -> float:
    return time.perf_counter() - began


def mean(days: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(day[name] for day in days) for name in days[0]}


def told(month: dict[str, float]) -> str:
    return (
        f"{month['disk'] / 1e6:.1f} MB, {month['seconds']:.2f} s a day, "
        f"{month['steps']:,.0f} steps of SQLite, {month['requests']:.1f} requests"
    )


if __name__ == "__main__":
    main()
