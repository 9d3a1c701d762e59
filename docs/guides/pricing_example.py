"""Files for the third use in README.md: rows that several growers sold, and what a buyer says it paid them.

    python docs/guides/pricing_example.py rows cellars.csv
    python docs/guides/pricing_example.py payouts scores.csv payouts.csv

``rows`` writes scikit-learn's bundled wine data with a column that says whose each row is. ``payouts`` shares 10,000 in
proportion to worth: a grower's scores, averaged over targets, where they add up to more than 0 (THEORY 9).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from sklearn.datasets import load_wine

N_GROWERS = 24
TOTAL = 10_000.0


def write_rows(path: Path) -> None:
    """Write features, class and grower, a row a bottle; growers take turns."""
    wine = load_wine()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*wine.feature_names, "cultivar", "grower"])
        for number, (features, cultivar) in enumerate(zip(wine.data, wine.target, strict=True)):
            writer.writerow([*features, cultivar, f"grower-{number % N_GROWERS:02d}"])


def write_payouts(scores: Path, path: Path) -> None:
    """Write what each grower is due by a claim's scores (prover export --scores), a row a grower."""
    with scores.open(newline="") as file:
        _, _, *rows = csv.reader(file)  # the header, the intercepts, then a unit a row
    worth = {name: sum(map(float, values)) / len(values) for name, *values in rows}
    pool = sum(value for value in worth.values() if value > 0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["contributor", "amount"])
        for name, value in worth.items():
            writer.writerow([name, round(max(value, 0.0) * TOTAL / pool, 2)])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rows", path]:
            write_rows(Path(path))
        case ["payouts", scores, path]:
            write_payouts(Path(scores), Path(path))
        case _:
            sys.exit(__doc__)
