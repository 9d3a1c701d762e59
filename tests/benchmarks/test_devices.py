"""The benchmarks' instruments on a GPU, without one: which device they wait for and name, and what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from benchmarks import __main__ as run_all
from benchmarks import claims_are_fitted_at_fifty_thousand_units as claims
from benchmarks import exact_training_costs_at_most_twice as exact
from benchmarks import many_models_are_ten_times_a_loop as perceptrons
from benchmarks import resnets_train_side_by_side as resnets
from protocol.recipes import Precision
from protocol.training.descent import sgd

SECOND = "cuda:1"
N = 60


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The devices that were waited for; "freed" where a cache was emptied."""
    found: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: found.append(device))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: found.append("freed"))
    return found


def timing(**seconds: float | None) -> resnets.Timing:
    return resnets.Timing(network="n", mb_a_model=1.0, seconds=seconds, largest_difference=0.0)


def test_the_clock_waits_for_the_device_that_works(waited: list[object]) -> None:
    assert perceptrons.seconds_of(lambda: waited.append("work"), SECOND) > 0
    assert waited == ["work", SECOND]


def test_the_device_that_works_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"the name of {device}")
    for table in (exact.report([], SECOND, 1.5), resnets.report(timing(loop=1.0), SECOND, 512)):
        assert f"the name of {SECOND}" in str(table.title)


def test_what_does_not_fit_is_said_and_the_others_are_timed(waited: list[object]) -> None:
    def too_large() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    works = {"16": resnets.Work(models=16, run=too_large), "4": resnets.Work(models=4, run=lambda: None)}
    seconds = resnets.in_turns(works, SECOND)
    assert seconds["16"] is None
    assert seconds["4"] is not None
    assert waited == ["freed", *[SECOND] * (1 + resnets.ROUNDS)]
    assert timing(**seconds).fastest == "4"
    assert next(iter(resnets.report(timing(**seconds), "cpu", N).columns[1].cells)) == "does not fit"


def test_another_fault_is_not_taken_for_a_lack_of_memory() -> None:
    def broken() -> None:
        raise RuntimeError("expected a tensor")

    with pytest.raises(RuntimeError, match="expected a tensor"):
        resnets.in_turns({"4": resnets.Work(models=4, run=broken)}, "cpu")


def test_side_by_side_is_all_at_once_whatever_the_solver_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    original = sgd.SgdSolver._trained

    def counting(self: sgd.SgdSolver, inside: torch.Tensor, seeds: np.ndarray) -> torch.Tensor:
        trained.append(len(inside))
        return original(self, inside, seeds)

    monkeypatch.setattr(sgd.SgdSolver, "_trained", counting)
    monkeypatch.setattr(sgd, "STACK_BYTES", 1)
    monkeypatch.setattr(resnets, "SIZES", {"cpu": (1, 3)})
    x, labels = resnets.images(resnets.SMALL_CNN, N, "cpu")
    solver = sgd.SgdSolver(resnets.SMALL_CNN, x.double(), labels, 10, torch.arange(N), x[:5].double(), None)
    one, three, as_solved = resnets.works_of(solver, N, "cpu").values()
    for work, sizes in ((one, [1]), (three, [3]), (as_solved, [1, 1, 1])):
        trained.clear()
        work.run()
        assert (trained, sum(sizes)) == (sizes, work.models)
    assert sgd.STACK_BYTES == 1


def test_the_loop_multiplies_as_precisely_as_its_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[tuple[Precision, str]] = []
    begun: list[bool] = []
    original = resnets.begun

    @contextmanager
    def cores(precision: Precision, device: torch.device) -> Iterator[None]:
        entered.append((precision, device.type))
        yield
        entered.clear()

    def beginning(*arguments: object) -> torch.nn.Module:
        begun.append(entered == [(Precision.FP32, "cpu")])
        return original(*arguments)

    monkeypatch.setattr(resnets, "tensor_cores", cores)
    monkeypatch.setattr(resnets, "begun", beginning)
    x, labels = resnets.images(resnets.SMALL_CNN, N, "cpu")
    resnets.plain_loop(resnets.SMALL_CNN, x, labels, "cpu")(np.ones(N, dtype=bool))
    assert begun == [True]
    assert not entered


def test_products_are_timed_until_the_device_has_done_them(waited: list[object]) -> None:
    class Queued:
        """What a Design gives away at once and a GPU does later."""

        device = SECOND

        def __len__(self) -> int:
            return 4

    def product(self: object, v: torch.Tensor) -> torch.Tensor:
        waited.append("queued")
        return v

    originals = {name: getattr(claims.Design, name) for name in ("times", "transposed_times", "gram_times")}
    passes = claims.Passes()
    with pytest.MonkeyPatch.context() as patched:
        for name in originals:
            patched.setattr(claims.Design, name, product)
        with claims.counted(passes, 4):
            claims.Design.gram_times(Queued(), torch.ones(1))
    assert waited == [SECOND, "queued", SECOND]
    assert passes.products == 2
    assert passes.seconds > 0


def test_on_a_gpu_claims_are_fitted_at_their_full_size() -> None:
    found = [command[1:] for command in run_all.commands(SECOND) if command[0] == run_all.CLAIMS]
    sizes = [dict(zip(arguments[::2], arguments[1::2], strict=False)) for arguments in found]
    assert {tuple(size["--methods"].split(",")) for size in sizes} == {("ridge", "lasso"), ("least-squares",)}
    assert {size["--units"] for size in sizes} == {"50000"}
    retrainings = [int(size["--evaluations"]) * (1 if "--p" in size else 2) for size in sizes]
    assert retrainings == [100_000, 100_000]
    assert all(arguments[-2:] == ("--device", SECOND) for arguments in found)


def test_a_device_changes_which_programs_run_and_not_what_a_processor_runs() -> None:
    everything = {command[0] for command in run_all.commands(None)}
    assert {command[0] for command in run_all.commands(SECOND)} < everything
    assert {command[0] for command in run_all.commands("cpu")} == {command[0] for command in run_all.commands(SECOND)}
    for program in everything - {"evidence"}:
        assert (run_all.HERE / f"{program}.py").is_file() or (run_all.HERE / program / "__main__.py").is_file()
    assert (run_all.CLAIMS, "--device", "cpu") in run_all.commands("cpu")
