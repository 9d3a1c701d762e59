"""Every certificate on every subject: how often its bound is below the truth, and how often a bad claim passes.

Makes coverage.csv. Each subject is one part, with random numbers of its own.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.evidence import algorithm1_covers_the_gap, sessions_cover_the_gap, subjects
from benchmarks.evidence.coverage import Cell
from benchmarks.evidence.scale import Scale
from benchmarks.tables import write_rows


def coverage(scale: Scale, out: Path) -> None:
    """coverage.csv: how often each bound is below the truth, and how often a claim just above epsilon passes."""
    n_games, n_tiny = len(subjects.games()), len(algorithm1_covers_the_gap.tiny_games())
    parts = [("real", 0), ("real", 1), *(("game", i) for i in range(n_games)), *(("tiny", i) for i in range(n_tiny))]
    found: list[Cell] = []
    # Processes of their own, each with its subject's random numbers: how many there are changes no figure.
    with ProcessPoolExecutor(scale.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for cells in pool.map(_cells_of, parts, [scale] * len(parts)):
            found += cells
            print(f"{len(found)} cells: {cells[-1].subject}", flush=True)
    found.sort(key=lambda cell: (cell.kind, cell.certificate))
    write_rows(out / "coverage.csv", found)
    _summarise(found)


def _cells_of(part: tuple[str, int], scale: Scale) -> list[Cell]:
    """Return every cell of one subject."""
    kind, number = part
    if kind == "tiny":
        return list(algorithm1_covers_the_gap.cells(algorithm1_covers_the_gap.tiny_games()[number], scale.n_runs))
    if kind == "game":
        subject = subjects.games()[number]
    else:
        subject = subjects.breast_cancer_logistic(scale.logistic) if number else subjects.digits_ridge(scale.ridge)
    n_sessions = scale.n_sessions if subject.is_game else max(2, scale.n_sessions // 2)
    return list(sessions_cover_the_gap.cells(subject, n_sessions))


def _summarise(found: list[Cell]) -> None:
    for certificate in dict.fromkeys(cell.certificate for cell in found):
        cells = [cell for cell in found if cell.certificate == certificate]
        beyond = [cell for cell in cells if cell.exceeds]
        surely = sorted({f"{cell.subject} ({cell.claim})" for cell in cells if cell.surely_exceeds})
        worst = max(cells, key=lambda cell: max(cell.miss_rate, cell.accept_rate or 0.0) - cell.delta)
        runs = sum(cell.runs for cell in cells)
        print(
            f"{certificate} ({cells[0].kind}): {len(cells)} cells of {runs} runs, missed in "
            f"{sum(cell.missed for cell in cells)}, false accepts {sum(cell.accepted or 0 for cell in cells)}; "
            f"{len(beyond)} cells above delta, worst {worst.miss_rate:.3f} ({worst.subject}, {worst.claim})"
        )
        if surely:
            print(f"    beyond chance: {', '.join(surely)}")
