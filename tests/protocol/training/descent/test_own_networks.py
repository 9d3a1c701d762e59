"""Networks of the user's own: found without being run, the same everywhere, and refused before they are paid for."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from protocol.encoding import digest
from protocol.errors import ArgumentError, TrainingError
from protocol.recipes import Factory, Kernel, KernelKind, Network, Precision, digest_of_factory
from protocol.training import Trainer
from protocol.training.descent.own_networks import OwnFactory, own_factory
from tests.protocol.training import tasks
from tests.protocol.training.descent.test_sgd import MLP, world

LINEAR = "self.last = nn.Linear(d, c)"
SUBSETS, SEEDS = tasks.subsets_of(40, 2), np.zeros(2, dtype=np.int64)


def net(init: str, forward: str) -> str:
    """A file that makes a network of d features and c outputs."""
    return f"""
class Net(nn.Module):
    def __init__(self, d, c):
        super().__init__()
        {init}
    def forward(self, x):
        {forward}
def make(shape, n_outputs, widths):
    return Net(shape[0], n_outputs)
"""


def returned(module: str) -> str:
    return f"def make(shape, c, widths):\n    return {module}\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the factory whose file says this."""

    def placed(body: str) -> OwnFactory:
        name = f"own_{digest('test', body).hex()[:8]}"
        (tmp_path / f"{name}.py").write_text("import numpy as np\nimport torch\nfrom torch import nn\n" + body)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return own_factory(f"{name}:make")

    return placed


def sgd(factory: OwnFactory, **changes: Any) -> Trainer:
    recipe = dataclasses.replace(MLP, factory=Factory.CUSTOM, factory_digest=factory.digest, epochs=1, **changes)
    return Trainer(*world(recipe), factory=factory)


def kernel(factory: OwnFactory) -> Trainer:
    network = Network(factory=Factory.CUSTOM, factory_digest=factory.digest, widths=(), image=(0, 0, 0), seed=0)
    return Trainer(*tasks.made(Kernel(kernel=KernelKind.NTK, l2=1.0, gamma=0.0, network=network)), factory=factory)


@pytest.mark.parametrize("has_files", [True, False], ids=["packages with files", "packages without"])
def test_a_file_within_packages_is_found_and_nothing_is_imported(
    has_files: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    packages, source = f"packages_{has_files}", returned("torch.nn.Linear(shape[0], c)")
    folder = tmp_path / packages / "inner"
    folder.mkdir(parents=True)
    (folder / "net.py").write_text("import torch\n" + source)
    if has_files:
        (folder.parent / "__init__.py").touch()
        (folder / "__init__.py").write_text("raise NameError('run')")
    found = own_factory(f"{packages}.inner.net:make")
    assert found.digest == digest_of_factory(b"import torch\n" + source.encode(), "make")
    assert not any(name.startswith(packages) for name in sys.modules)
    if has_files:
        with pytest.raises(ArgumentError, match="expected it to import, got NameError: run"):
            sgd(found)
    else:
        assert np.isfinite(sgd(found).raw_outputs(SUBSETS, SEEDS)).all()


def random_features(numbers: str) -> str:
    return net(
        f"self.last = nn.Linear(7, c); self.register_buffer('b', {numbers})", "return self.last(torch.cos(x @ self.b))"
    )


@pytest.mark.parametrize("trainer", [sgd, kernel])
def test_buffers_drawn_at_random_are_the_same_in_every_trainer(own: Any, trainer: Any) -> None:
    factory = own(random_features("torch.randn(d, 7)"))
    torch.manual_seed(5)
    first = trainer(factory).raw_outputs(SUBSETS, SEEDS)
    drawn = torch.rand(1)
    assert np.array_equal(trainer(factory).raw_outputs(SUBSETS, SEEDS), first)
    torch.manual_seed(5)
    assert torch.rand(1) == drawn, "the process's own generator is left as it was"


@pytest.mark.parametrize("numbers", ["torch.tensor(np.random.rand(d, 7))", "torch.eye(d, 7) + next(COUNT)"])
def test_buffers_that_are_others_each_time_are_refused(numbers: str, own: Any) -> None:
    factory = own("import itertools\nCOUNT = itertools.count()\n" + random_features(numbers))
    with pytest.raises(TrainingError, match="expected the same network whenever it is built, got another b; draw"):
        sgd(factory)


UNTRAINABLE = {
    "another signature": ("def make(shape):\n    return 0", r"expected a network from make\(shape, .*TypeError"),
    "more features": (returned("nn.Linear(shape[0] + 1, c)"), "vmap and grad can run, got RuntimeError: mat1 and mat2"),
    "more outputs": (returned("nn.Linear(shape[0], c + 2)"), r"shape \(2, 3\) for 2 of the rows, got \(2, 5\)"),
    "another axis": (net(LINEAR, "return self.last(x).unsqueeze(2)"), r"\(2, 3\) for 2 of the rows, got \(2, 3, 1\)"),
    "an axis lost": (net(LINEAR, "return self.last(x).squeeze()"), r"\(1, 3\) for 1 of the rows, got \(3,\)"),
    "if": (net(LINEAR, "return self.last(x if x.sum() > 0 else -x)"), r"got RuntimeError.*; no \.item\(\), and no if"),
    "item": (net(LINEAR, "return self.last(x) * x.sum().item()"), r"got RuntimeError.*; no \.item\(\), and no if"),
    "dropout": (
        net(LINEAR, "return nn.functional.dropout(self.last(x))"),
        "RuntimeError.*; draw nothing at random: set",
    ),
    "noise": (net(LINEAR, "return self.last(x) + torch.randn(1)"), "RuntimeError.*; draw nothing at random"),
    "attention's dropout": (
        net("self.mix = nn.MultiheadAttention(4, 2, 0.1)", "return x"),
        "layer mix: expected a MultiheadAttention without dropout, .*; set its dropout to 0 and use recipe",
    ),
    "rows mixed": (net(LINEAR, "return self.last(x - x.mean(0))"), "depend on that row alone, got others beside"),
    "nothing": (net(LINEAR, "return None"), "vmap and grad can run, got"),
    "no weights": (returned("nn.Flatten()"), "expected a network with parameters to train, got none"),
    "counting": (
        net(LINEAR + "; self.register_buffer('n', torch.zeros(1))", "self.n = self.n + 1; return self.last(x)"),
        "running leaves as it is, got another n",
    ),
    "adding": (
        net(LINEAR + "; self.register_buffer('n', torch.zeros(1))", "self.n += 1; return self.last(x)"),
        "got RuntimeError.*; keep no state in it",
    ),
}


@pytest.mark.parametrize(("body", "message"), UNTRAINABLE.values(), ids=UNTRAINABLE)
def test_a_network_that_cannot_be_trained_is_one_line(body: str, message: str, own: Any) -> None:
    with pytest.raises(TrainingError, match=message) as caught:
        sgd(own(body))
    assert "\n" not in str(caught.value)


def test_memory_that_runs_out_is_not_the_networks_fault(own: Any) -> None:
    """The trainer says what to do about it."""
    for body in ("def make(shape, c, widths):\n    raise MemoryError\n", net(LINEAR, "raise MemoryError")):
        with pytest.raises(TrainingError, match="recipe sgd: expected memory for the data and what it sets up on cpu"):
            sgd(own(body))


@pytest.mark.parametrize(
    "name", ["another signature", "more features", "no weights", "if", "dropout", "attention's dropout"]
)
def test_a_network_that_cannot_be_differentiated_is_one_line(name: str, own: Any) -> None:
    body, message = UNTRAINABLE[name]
    with pytest.raises(TrainingError, match=message) as caught:
        kernel(own(body))
    assert "\n" not in str(caught.value)


def test_attention_and_layers_of_several_outputs_are_trained(own: Any) -> None:
    """Attention over a row's features, and a last layer that returns more than one tensor."""
    body = """
class Pair(nn.Module):
    def forward(self, x):
        return x, [x]
""" + net(
        "self.into, self.mix, self.last, self.pair = "
        "nn.Linear(1, 4), nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, c), Pair()",
        "x = self.into(x.unsqueeze(2)); return self.pair(self.last(self.mix(x, x, x)[0].mean(1)))[0]",
    )
    assert np.isfinite(sgd(own(body)).raw_outputs(SUBSETS, SEEDS)).all()


PRODUCTS = {
    "multi_head_attention_forward": net(
        "self.into, self.last = nn.Linear(1, 4), nn.Linear(4, c)\n        "
        "self.mix = nn.MultiheadAttention(4, 2, batch_first=True)",
        "x = self.into(x.unsqueeze(2)); return self.last(self.mix(x, x, x)[0].mean(1))",
    ),
    "addmm": net(LINEAR, "return torch.addmm(self.last.bias, x, self.last.weight.T)"),
    "linear": net(LINEAR, "return nn.functional.linear(x, weight=self.last.weight)"),
    "einsum": net(LINEAR, "return torch.einsum('bd,cd,c->bc', x, self.last.weight, self.last.bias)"),
}


@pytest.mark.parametrize("precision", [Precision.TF32, Precision.BF16])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_precision_that_would_not_be_applied_is_refused(name: str, precision: Precision, own: Any) -> None:
    factory = own(PRODUCTS[name])
    assert np.isfinite(sgd(factory).raw_outputs(SUBSETS, SEEDS)).all()
    with pytest.raises(TrainingError, match=rf"^recipe\.precision: expected fp32, got .* multiplies in {name};"):
        sgd(factory, precision=precision)


def test_a_precision_is_applied_to_layers_and_plain_products(own: Any) -> None:
    factory = own(
        net(LINEAR + "; self.norm = nn.LayerNorm(d)", "return self.norm(x) @ self.last.weight.T + self.last(x)")
    )
    single, rounded = (sgd(factory, precision=precision) for precision in (Precision.FP32, Precision.BF16))
    difference = np.abs(single.raw_outputs(SUBSETS, SEEDS) - rounded.raw_outputs(SUBSETS, SEEDS)).max()
    assert 1e-4 < difference < 1.0
