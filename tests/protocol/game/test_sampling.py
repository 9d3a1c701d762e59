"""Seeds to subsets: bytes that never change, a second derivation, and the distribution that THEORY 2 rests on.

Statistical tests: fixed seeds, a count of exact binomial distribution, and a two-sided false-alarm rate of 1e-6 each.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from protocol.encoding import Seed, canonical, digest
from protocol.errors import InternalError, MalformedMessage
from protocol.game import Game, Measure, SeedPolicy, Statement
from protocol.game.known import Parity, statement_of
from protocol.game.sampling import (
    MAX_EVALUATIONS,
    Bases,
    Design,
    Draw,
    choose,
    every_subset,
    families,
    pairs,
    permutation,
    seed_from_integer,
    subset_digests,
)
from protocol.game.tilting import UNIFORM_16, Tilts
from tests.games import task_of

SEED = Seed(bytes(range(32)))
FALSE_ALARM = 1e-6


def drawn(task: Game, design: Design, seed: Seed = SEED, along: Tilts | None = None) -> np.ndarray:
    """Every subset of a draw, shape (B, s, sides, N)."""
    subsets = Draw(seed=seed, design=design, along=along).subsets(task, np.arange(design.n_evaluations))
    return subsets.reshape(design.n_families, design.n_siblings, design.n_sides, task.n_units)


def assert_binomial(count: int, n: int, p: float) -> None:
    """``count`` is within what Binomial(n, p) gives but with probability FALSE_ALARM."""
    low, high = stats.binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n, p)
    assert low <= count <= high, f"{count} of {n}, expected {low:.0f} to {high:.0f}"


class NaiveStream:
    """AES-256 block by block: what counter mode means, without a counter mode."""

    def __init__(self, seed: bytes, label: str) -> None:
        key = hashlib.sha256(canonical(["attribution-proofs/1", "stream", seed, label])).digest()
        self.block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305

    def read(self, index: int, n_bytes: int) -> bytes:
        n_blocks = -(-n_bytes // 16)
        return b"".join(self.block.update(struct.pack(">QQ", index, i)) for i in range(n_blocks))[:n_bytes]

    def draws(self, index: int, n: int) -> list[int]:
        return list(struct.unpack(f"<{n}H", self.read(index, 2 * n)))


def naive_subset(draw: Draw, task: Game, evaluation: int) -> list[bool]:
    """One subset, unit by unit, from the sentences in proto/SPEC.md, section 4."""
    design, n = draw.design, task.n_units
    side = evaluation % 2 if design.complements else 0
    member = evaluation // 2 if design.complements else evaluation
    family = member // design.n_siblings
    if design.bases is Bases.ALL:
        return [bool(family >> i & 1) for i in range(n)]
    base = NaiveStream(draw.seed, "base").draws(family, n)
    below = [task.measure.p_16] * n if design.bases is Bases.DRAWN else naive_thresholds(draw, task, family)
    own = NaiveStream(draw.seed, "sibling").draws(member, 2 * n)
    out = []
    for i in range(n):
        inside = base[i] < below[i] if own[i] < design.keep_16 else own[n + i] < task.measure.p_16
        out.append(inside != bool(side))
    return out


def naive_thresholds(draw: Draw, task: Game, family: int) -> list[int]:
    """What a tilted base's draws must be below: the choice from the stream, the thresholds from the claim."""
    assert draw.along is not None
    kind, which, _, _, word = struct.unpack("<4HQ", NaiveStream(draw.seed, "tilt").read(family, 16))
    if kind < UNIFORM_16:
        return [task.measure.p_16] * task.n_units
    target = int((word >> 11) / 2**53 * draw.along.n_targets)
    return draw.along.thresholds(np.array([target]))[0, which // 32768].tolist()


def test_these_subsets_never_change() -> None:
    subsets = drawn(task_of(20), families(n_families=2, n_siblings=2, rho=0.5, complements=True)).reshape(8, 20)
    assert ["".join("01"[int(bit)] for bit in row) for row in subsets] == [
        "11011000010011110011", "00100111101100001100", "10111010000011110110", "01000101111100001001",
        "11001000110010101101", "00110111001101010010", "11011000101010101101", "00100111010101010010",
    ]  # fmt: skip
    biased = drawn(task_of(20, p=0.3), Design(n_families=2, n_siblings=2, keep_16=40000, complements=False))
    assert ["".join("01"[int(bit)] for bit in row) for row in biased.reshape(4, 20)] == [
        "00011010000010110001", "10011010000011110000", "01000000110010000101", "01010000101010000101",
    ]  # fmt: skip
    assert subset_digests(subsets)[0].hex() == "2b0d50e400f708ba00e5287094fcc44c8c4918785328c9ed004b7898fbff0476"


def test_these_seeds_choices_and_digests_never_change() -> None:
    design = families(n_families=2, n_siblings=2, rho=0.5, complements=True)
    draw = Draw(seed=SEED, design=design)
    own_seeds = replace(task_of(20), seed_policy=SeedPolicy.PER_SUBSET)
    assert draw.training_seeds(own_seeds, np.arange(3)).tolist() == [
        4261782792061162875, 3225919369971969685, 1098233368539867990,
    ]  # fmt: skip
    assert draw.digest.hex() == "02afe12a8fbbe78cf7c5e064c84a8e617ddada39e88930eed535a444c4bcfc7b"
    assert choose(SEED, 20, 5).tolist() == [5, 7, 13, 15, 17]
    assert permutation(SEED, 10).tolist() == [7, 5, 1, 3, 0, 4, 8, 6, 2, 9]
    assert (
        seed_from_integer("split", 7).hex() == "33360282c26c713b8d566643c2519cc5226c4a5fc4700d7e853fe93dac409a37"
    )  # fmt: skip


@settings(max_examples=60)
@given(
    seed=st.binary(min_size=32, max_size=32),
    n_units=st.integers(2, 70),
    p_16=st.sampled_from([1, 2, 9000, 32767, 32768, 32769, 65534, 65535]),
    keep_16=st.sampled_from([0, 1, 30000, 65535]),
    n_siblings=st.integers(1, 3),
    tilted=st.booleans(),
    data=st.data(),
)
def test_every_subset_is_the_one_that_a_second_derivation_gives(
    seed: bytes, n_units: int, p_16: int, keep_16: int, n_siblings: int, tilted: bool, data: st.DataObject
) -> None:
    p_16 = 32768 if tilted else p_16
    task = replace(task_of(n_units), measure=Measure(p_16=p_16), seed_policy=SeedPolicy.PER_SUBSET)
    design = Design(
        n_families=9, n_siblings=n_siblings, keep_16=keep_16, complements=task.measure.has_complements,
        bases=Bases.TILTED if tilted else Bases.DRAWN,
    )  # fmt: skip
    design.check_fits(task)
    scores = np.random.default_rng(n_units).standard_normal((3, n_units))
    draw = Draw(seed=Seed(seed), design=design, along=Tilts(scores) if tilted else None)
    number = st.integers(0, design.n_evaluations - 1)
    wanted = np.array(data.draw(st.lists(number, max_size=6)), dtype=np.int64)  # any order, repeats too
    assert draw.subsets(task, wanted).tolist() == [naive_subset(draw, task, e) for e in wanted.tolist()]
    stream = NaiveStream(seed, "training seed")
    assert draw.training_seeds(task, wanted).tolist() == [
        int.from_bytes(stream.read(e, 8), "little") // 2 for e in wanted.tolist()
    ]


# Every subset once.


def everything(n_units: int, *, copies: int = 1) -> Design:
    return Design(n_families=1 << n_units, n_siblings=copies, keep_16=0, complements=False, bases=Bases.ALL)


def small(n_units: int) -> Statement:
    return statement_of(Parity(n_units=n_units, degree=1))


@pytest.mark.parametrize("n_units", [1, 2, 5, 10])
@pytest.mark.parametrize("copies", [1, 3])
def test_every_subset_comes_once_in_the_order_of_its_number_each_copy_in_turn(n_units: int, copies: int) -> None:
    game, design = small(n_units), everything(n_units, copies=copies)
    design.check_fits(game)
    draw = Draw(seed=SEED, design=design)
    subsets = drawn(game, design)[:, :, 0]
    assert subsets.shape == (1 << n_units, copies, n_units)
    for number in range(1 << n_units):
        expected = [bool(number >> i & 1) for i in range(n_units)]  # unit 0 is the lowest bit
        assert subsets[number].tolist() == [expected] * copies
    wanted = np.random.default_rng(n_units).permutation(draw.n_evaluations)[:20]
    assert draw.subsets(game, wanted).tolist() == [naive_subset(draw, game, e) for e in wanted.tolist()]
    np.testing.assert_array_equal(draw.bases(game, np.arange(1 << n_units)), subsets[:, 0])


def test_every_subset_does_not_depend_on_the_seed_and_its_training_seeds_do() -> None:
    game, design = replace(small(4), seed_policy=SeedPolicy.PER_SUBSET), everything(4, copies=2)
    one, other = (Draw(seed=seed, design=design) for seed in (SEED, Seed(bytes(32))))
    numbers = np.arange(design.n_evaluations)
    np.testing.assert_array_equal(one.subsets(game, numbers), other.subsets(game, numbers))
    seeds = [draw.training_seeds(game, numbers) for draw in (one, other)]
    assert len(set(np.concatenate(seeds).tolist())) == 64  # each copy has its own


def test_the_numbering_reaches_sixty_two_units() -> None:
    found = every_subset(62, np.array([0, 1, 1 << 61, (1 << 62) - 1]))
    assert found.sum(axis=1).tolist() == [0, 1, 1, 62]
    assert np.flatnonzero(found[2]).tolist() == [61]


@pytest.mark.parametrize("n_families", [1, 7, 9, 16])
def test_every_subset_is_of_the_games_number_of_units(n_families: int) -> None:
    design = replace(everything(3), n_families=n_families)
    with pytest.raises(MalformedMessage, match=rf"expected each of 2\^3 subsets once, got {n_families}"):
        design.check_fits(small(3))
    everything(3).check_fits(small(3))
    with pytest.raises(MalformedMessage, match=r"expected each of 2\^100 subsets once"):
        everything(3).check_fits(small(100))


def test_more_subsets_than_a_challenge_may_hold_are_refused() -> None:
    assert everything(25).n_evaluations == 1 << 25
    with pytest.raises(MalformedMessage, match="expected at most 50000000 evaluations"):
        everything(26)


# Tilted bases; what they are tilted by is tests/protocol/game/test_tilting.py's business.

TILTED = Design(n_families=40, n_siblings=2, keep_16=40000, complements=True, bases=Bases.TILTED)


def test_a_tilted_draw_needs_the_claim() -> None:
    with pytest.raises(InternalError, match="without the claim"):
        drawn(task_of(6), TILTED)


def test_a_tilted_draw_is_the_uniform_one_but_for_the_tilted_families() -> None:
    task = task_of(50)
    tilts = Tilts(np.random.default_rng(3).standard_normal((2, 50)) * 40)
    one = drawn(task, TILTED, along=tilts)
    other = drawn(task, replace(TILTED, bases=Bases.DRAWN))
    kinds = [struct.unpack("<H", NaiveStream(SEED, "tilt").read(family, 2))[0] for family in range(40)]
    differ = (one != other).any(axis=(1, 2, 3))
    assert 0 < differ.sum() < 40
    assert all(kind >= UNIFORM_16 for kind, is_other in zip(kinds, differ, strict=True) if is_other)


def test_a_draws_name_leaves_out_the_claim_which_is_committed_to_before() -> None:
    tilts = Tilts(np.ones((1, 50)))
    one, other = (Draw(seed=SEED, design=TILTED, along=along) for along in (tilts, None))
    assert one.digest == other.digest
    assert one == other


def test_siblings_of_a_tilted_base_are_drawn_about_it_as_of_any_other() -> None:
    """A kept unit is the base's, every other is in with probability 1/2 whatever the tilt."""
    n, task = 2000, task_of(2000)
    tilts = Tilts(np.ones((1, n)))
    design = replace(TILTED, n_families=60)
    bases = Draw(seed=SEED, design=design, along=tilts).bases(task, np.arange(60))
    subsets = drawn(task, design, along=tilts)
    keep = design.keep_16 / 65536
    agree = int((subsets[:, :, 0] == bases[:, None]).sum())
    assert_binomial(agree, 60 * 2 * n, keep + (1 - keep) / 2)
    assert (subsets[:, :, 1] == ~subsets[:, :, 0]).all()


def test_a_shared_seed_is_the_tasks_for_every_evaluation() -> None:
    task = replace(task_of(5), seed=41)
    assert Draw(seed=SEED, design=pairs(2)).training_seeds(task, np.arange(4)).tolist() == [41] * 4


def test_no_two_evaluations_share_a_training_seed_of_their_own() -> None:
    task = replace(task_of(5), seed_policy=SeedPolicy.PER_SUBSET)
    seeds = Draw(seed=SEED, design=pairs(5000)).training_seeds(task, np.arange(10_000))
    assert len(set(seeds.tolist())) == 10_000
    assert seeds.min() >= 0


@pytest.mark.parametrize("p", [0.5, 0.3, 0.05, 0.9])
def test_every_member_of_a_family_is_p_biased(p: float) -> None:
    task = task_of(2000, p=p)
    design = families(n_families=60, n_siblings=3, rho=0.4, complements=p == 0.5)
    subsets = drawn(task, design)
    for sibling in range(3):  # units and families are independent, so the count over both is binomial
        assert_binomial(int(subsets[:, sibling, 0].sum()), 60 * 2000, task.measure.p)


@pytest.mark.parametrize("p_16", [1, 32768, 65535])
@pytest.mark.parametrize("keep_16", [0, 65535])
def test_the_edges_of_p_and_of_correlation(p_16: int, keep_16: int) -> None:
    task = replace(task_of(5000), measure=Measure(p_16=p_16))
    design = Design(n_families=20, n_siblings=2, keep_16=keep_16, complements=p_16 == 32768)
    subsets = drawn(task, design)[:, :, 0]
    p = p_16 / 65536
    assert_binomial(int(subsets[:, 0].sum()), 100_000, p)
    both = p * p + p * (1 - p) * (keep_16 / 65536) ** 2
    assert_binomial(int((subsets[:, 0] & subsets[:, 1]).sum()), 100_000, both)


@pytest.mark.parametrize(("p", "rho"), [(0.5, 0.5), (0.5, 0.1), (0.3, 0.2), (0.1, 0.7)])
def test_any_two_siblings_are_rho_correlated(p: float, rho: float) -> None:
    task = task_of(2000, p=p)
    design = families(n_families=60, n_siblings=3, rho=rho, complements=p == 0.5)
    assert design.rho == pytest.approx(rho, abs=2**-15)
    subsets = drawn(task, design)[:, :, 0]
    both = task.measure.p**2 + design.rho * task.measure.p * (1 - task.measure.p)  # P(a unit is in both)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert_binomial(int((subsets[:, a] & subsets[:, b]).sum()), 60 * 2000, both)


def test_three_siblings_meet_in_their_base_alone() -> None:
    """Given the base, siblings are independent: the chance that all three hold a unit follows."""
    task = task_of(2000)
    design = families(n_families=60, n_siblings=3, rho=0.36, complements=True)
    keep = design.keep_16 / 65536
    all_three = sum(0.5 * (keep * z + (1 - keep) * 0.5) ** 3 for z in (0, 1))
    subsets = drawn(task, design)[:, :, 0]
    assert_binomial(int(subsets.all(axis=1).sum()), 60 * 2000, all_three)


def test_families_are_independent_of_each_other() -> None:
    subsets = drawn(task_of(2000), families(n_families=60, n_siblings=2, rho=0.9, complements=True))[:, 0, 0]
    assert_binomial(int((subsets[:-1] == subsets[1:]).sum()), 59 * 2000, 0.5)


def test_units_are_independent_of_each_other() -> None:
    subsets = drawn(task_of(2001), pairs(60))[:, 0, 0]
    assert_binomial(int((subsets[:, :-1] == subsets[:, 1:]).sum()), 60 * 2000, 0.5)


def test_two_seeds_give_independent_subsets() -> None:
    one, other = (drawn(task_of(2000), pairs(60), Seed(bytes([b]) * 32)) for b in (1, 2))
    assert_binomial(int((one == other)[:, 0, 0].sum()), 60 * 2000, 0.5)


def test_a_complement_follows_its_subset() -> None:
    subsets = drawn(task_of(100), families(n_families=5, n_siblings=2, rho=0.5, complements=True))
    assert (subsets[:, :, 1] == ~subsets[:, :, 0]).all()


def test_a_subset_does_not_depend_on_what_else_is_asked_for() -> None:
    task, design = task_of(30), families(n_families=4, n_siblings=3, rho=0.5, complements=True)
    draw = Draw(seed=SEED, design=design)
    everything = draw.subsets(task, np.arange(24))
    order = np.random.default_rng(0).permutation(24)
    assert (draw.subsets(task, order) == everything[order]).all()
    assert (draw.subsets(task, order[:1]) == everything[order[:1]]).all()


def test_how_many_are_derived_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Draw(seed=SEED, design=families(n_families=7, n_siblings=3, rho=0.5, complements=True))
    wanted = np.random.default_rng(0).permutation(draw.n_evaluations)
    whole = draw.subsets(task_of(20), wanted)
    for n_units in (1, 100, 130):
        monkeypatch.setattr("protocol.game.sampling._CHUNK_UNITS", n_units)
        np.testing.assert_array_equal(draw.subsets(task_of(20), wanted), whole)


def test_every_unit_is_in_the_digest_of_a_subset() -> None:
    subsets = np.zeros((10, 9), dtype=bool)
    subsets[np.arange(9), np.arange(9)] = True
    assert len(set(subset_digests(subsets))) == 10
    padded = np.zeros((1, 10), dtype=bool)
    assert subset_digests(padded)[0] != subset_digests(subsets)[9]  # the same bits but one unit more


@given(st.integers(1, 200), st.data())
def test_a_choice_is_k_different_numbers_in_order(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    chosen = choose(SEED, n, k)
    assert len(set(chosen.tolist())) == k
    assert chosen.tolist() == sorted(chosen.tolist())
    assert all(0 <= e < n for e in chosen)
    assert sorted(permutation(SEED, n).tolist()) == list(range(n))


def test_every_choice_is_equally_likely() -> None:
    n_draws, n, k = 2000, 5, 2
    counts = np.zeros((n, n), dtype=int)
    for i in range(n_draws):
        a, b = choose(seed_from_integer("choice", i), n, k)
        counts[a, b] += 1
    for a in range(n):
        for b in range(a + 1, n):
            assert_binomial(int(counts[a, b]), n_draws, 1 / 10)


def test_the_naive_permutation_is_the_order_of_64_bit_draws() -> None:
    draws = struct.unpack("<50Q", NaiveStream(SEED, "permutation").read(0, 400))
    assert permutation(SEED, 50).tolist() == sorted(range(50), key=lambda i: draws[i])


def test_designs_count_their_evaluations() -> None:
    assert families(n_families=7, n_siblings=3, rho=0.5, complements=True).n_evaluations == 42
    assert families(n_families=7, n_siblings=3, rho=0.5, complements=False).n_evaluations == 21
    assert pairs(9).n_evaluations == 18
    assert pairs(9, complements=False).n_evaluations == 9
    assert families(n_families=1, n_siblings=1, rho=1.0, complements=True).keep_16 == 65535
    assert families(n_families=1, n_siblings=1, rho=0.0, complements=True).rho == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_families": 0}, "at least one family of one sibling, got 0 of 2"),
        ({"n_siblings": 0}, "at least one family of one sibling, got 3 of 0"),
        ({"n_families": -1}, "at least one family of one sibling, got -1 of 2"),
        ({"keep_16": -1}, "expected keep_16 from 0 to 65535, got -1"),
        ({"keep_16": 65536}, "expected keep_16 from 0 to 65535, got 65536"),
        ({"n_families": MAX_EVALUATIONS // 4 + 1}, "expected at most 50000000 evaluations, got 50000004"),
        ({"bases": Bases.TILTED, "complements": False}, "expected complements where bases are tilted, got none"),
        ({"bases": Bases.ALL}, "expected neither complements nor a correlation where every subset is taken"),
        ({"bases": Bases.ALL, "keep_16": 0}, "expected neither complements nor a correlation"),
        ({"bases": Bases.ALL, "complements": False}, "expected neither complements nor a correlation"),
    ],
)
def test_a_design_that_no_verifier_draws_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedMessage, match=message):
        Design(**{"n_families": 3, "n_siblings": 2, "keep_16": 7, "complements": True, **change})


def test_a_design_has_complements_only_where_they_are_distributed_like_subsets() -> None:
    with pytest.raises(MalformedMessage, match=r"expected no complements but at p = 1/2, got some at p = 0\.25"):
        pairs(3).check_fits(task_of(4, p=0.25))
    pairs(3, complements=False).check_fits(task_of(4))  # Algorithm 1 has none at p = 1/2


@pytest.mark.parametrize("n_bytes", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(n_bytes: int) -> None:
    with pytest.raises(MalformedMessage, match=f"challenge seed: expected 32 bytes, got {n_bytes}"):
        Draw(seed=Seed(bytes(n_bytes)), design=pairs(1))


def test_every_field_is_in_the_digest_of_a_draw() -> None:
    design = Design(n_families=3, n_siblings=2, keep_16=7, complements=True)
    draw = Draw(seed=SEED, design=design)
    others = [
        Draw(seed=Seed(bytes(32)), design=design),
        *(replace(draw, design=replace(design, **change)) for change in (
            {"n_families": 4}, {"n_siblings": 3}, {"keep_16": 8}, {"complements": False}, {"bases": Bases.TILTED},
        )),
    ]  # fmt: skip
    assert len({draw.digest, *(other.digest for other in others)}) == 7
    assert draw.digest == digest("draw", SEED, 3, 2, 7, True, "drawn")
    with pytest.raises(FrozenInstanceError):
        design.keep_16 = 8
