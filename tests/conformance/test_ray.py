"""Ray clusters of several nodes, all on this machine: room by node, no more at once than asked for, one version."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol.errors import TrainingError
from protocol.game.sampling import Draw
from prover.engines import Done
from prover.engines.dispatch import Crew
from tests.conformance.worlds import DRAW, gathered, reference, wine

pytest.importorskip("ray", reason="Ray is optional")
from ray.cluster_utils import Cluster

from prover.engines import ray_engine
from prover.engines.ray_engine import RayEngine

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CLOSE = 1e-9
N = 10_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head with one processor; each test adds the nodes that it needs."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray") as place:
        patch.setenv("RAY_TMPDIR", place)  # or another cluster of this machine's user is "auto" no more
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Ray's own, as it starts
            cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture
def node(cluster: Cluster) -> Iterator[Callable[..., Any]]:
    """Let a node join, until the test ends."""
    added = []

    def join(**what: object) -> Any:
        added.append(cluster.add_node(**what))
        return added[-1]

    yield join
    for one in added:
        if one in cluster.worker_nodes:
            cluster.remove_node(one)
    cluster.wait_for_nodes()


@contextmanager
def engine(cluster: Cluster, **what: Any) -> Iterator[RayEngine]:
    with RayEngine(*wine(), address=cluster.address, **what) as engine:
        yield engine


def test_room_that_no_node_has_alone_is_none(cluster: Cluster, node: Callable[..., Any]) -> None:
    node(num_cpus=1)
    node(num_cpus=3)
    with engine(cluster, n_threads=2) as room_on_one:
        assert room_on_one.n_workers == 1
    with (
        pytest.raises(
            TrainingError,
            match="expected a node with 4 CPU and 0 GPU for one training, got nodes: "
            "2 with 1 CPU and 0 GPU; 1 with 3 CPU and 0 GPU; add one",
        ),
        engine(cluster, n_threads=4),
    ):
        pass


def test_the_last_node_that_fits_may_leave(
    cluster: Cluster, node: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "LOOK_S", 1.0)
    leaving, told = node(num_cpus=2), 0

    def on_done(chunk: Done) -> None:
        nonlocal told
        told += 1
        if told == 3:
            cluster.remove_node(leaving)

    with engine(cluster, n_threads=2) as on_two:
        with pytest.raises(
            TrainingError, match=r"expected a node with 2 CPU .* got nodes: 1 with 1 CPU and 0 GPU; add"
        ):
            on_two.run(DRAW, np.arange(N), on_done)
        node(num_cpus=2)
        chunks = gathered(on_two, np.arange(1000))
    assert told >= 3
    numbers = np.concatenate([chunk.evaluations for chunk in chunks])
    assert sorted(numbers) == list(range(1000))
    assert np.abs(np.concatenate([chunk.outputs for chunk in chunks]) - reference(numbers)).max() <= CLOSE


def test_no_more_are_given_than_were_asked_for(
    cluster: Cluster, node: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    node(num_cpus=4)  # and room for all that is given: what Ray has, it trains

    def give_all(crew: Crew, n_workers: int, draw: Draw, evaluations: np.ndarray, *rest: object) -> None:
        given.append(0)
        while crew.has_room():
            crew.give(given[-1], draw, evaluations)
            given[-1] += 1
        crew.drop()

    given: list[int] = []
    monkeypatch.setattr(ray_engine, "dispatch", give_all)
    for n_workers in (2, None):
        with engine(cluster, n_workers=n_workers) as some:
            assert some.n_workers == min(n_workers or 5, 5)
            some.run(DRAW, np.arange(1), lambda chunk: None)
    assert given == [2, 2 * 5]


INSTEAD = """
import sys
from importlib.machinery import PathFinder

class Instead:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"protocol", "prover"}:
            return None
        return PathFinder.find_spec(name, PLACE if path is None else path) or nothing(name)

def nothing(name):
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Instead())
"""


def another_checkout(place: Path) -> dict[str, str]:
    """Return the environment of a node where sources of the same version differ by a comment."""
    for package in ("protocol", "prover"):
        shutil.copytree(package, place / package)
    with (place / "protocol/harmonic.py").open("a") as source:
        source.write("# another\n")
    return instead(place, [str(place)])


def nothing_installed(place: Path) -> dict[str, str]:
    return instead(place, [])


def instead(place: Path, packages: list[str]) -> dict[str, str]:
    (place / "sitecustomize.py").write_text(f"PLACE = {packages!r}\n{INSTEAD}")
    return {"PYTHONPATH": str(place)}


@pytest.mark.parametrize(
    ("environment", "got"),
    [
        (another_checkout, r"0\.1\.0\+[0-9a-f]{12}"),
        (nothing_installed, r"a node at [0-9.]+ that cannot train \(.*No module named '(prover|protocol)'"),
    ],
)
def test_a_node_where_something_else_is_installed_is_said(
    cluster: Cluster,
    node: Callable[..., Any],
    tmp_path: Path,
    environment: Callable[[Path], dict[str, str]],
    got: str,
) -> None:
    said = rf"ray: expected attribution-proofs 0\.1\.0\+[0-9a-f]{{12}} on every node, got {got}.*; install there what"
    there = node(num_cpus=2)
    with engine(cluster, n_threads=2) as before:
        node(num_cpus=2, env_vars=environment(tmp_path))
        cluster.remove_node(there)
        with pytest.raises(TrainingError, match=said) as caught:  # it joined later: a chunk says so
            before.run(DRAW, np.arange(40), lambda chunk: None)
    assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match=said), engine(cluster, n_threads=2):  # and before there is one
        pass
