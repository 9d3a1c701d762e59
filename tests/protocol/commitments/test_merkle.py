"""Merkle trees against RFC 6962's own definition, certificate transparency's reference roots, and tampering."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.commitments import MerkleTree, verify_inclusion
from protocol.commitments.merkle import MAX_LEAVES, leaf_hash, node_hash
from protocol.errors import CommitmentError, InternalError

# The eight inputs and the roots of their prefixes, as in certificate-transparency's merkle_tree_test.
REFERENCE_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
REFERENCE_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
leaf_lists = st.lists(st.binary(max_size=4), min_size=1, max_size=40)


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def sides(index: int, n_leaves: int) -> list[bool]:
    """Whether each step up from a leaf joins it from the right: all that a proof depends on besides the hashes."""
    if n_leaves == 1:
        return []
    k = 1
    while 2 * k < n_leaves:
        k *= 2
    return [*sides(index, k), False] if index < k else [*sides(index - k, n_leaves - k), True]


@pytest.mark.parametrize("n", range(1, 9))
def test_roots_are_those_of_certificate_transparency(n: int) -> None:
    assert MerkleTree(REFERENCE_LEAVES[:n]).root.hex() == REFERENCE_ROOTS[n - 1]


@given(leaf_lists)
def test_root_and_paths_are_the_definitions(leaves: list[bytes]) -> None:
    tree = MerkleTree(iter(leaves))
    assert tree.n_leaves == len(leaves)
    assert tree.root == naive_root(leaves)
    for index, leaf in enumerate(leaves):
        path = tree.path(index)
        assert list(path) == naive_path(index, leaves)
        verify_inclusion(root=tree.root, leaf=leaf, index=index, n_leaves=len(leaves), path=path)


@given(leaf_lists, st.data())
def test_another_leaf_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    tree, index = MerkleTree(leaves), data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.binary(max_size=4).filter(lambda leaf: leaf != leaves[index]))
    with pytest.raises(CommitmentError, match="does not lead to the root"):
        verify_inclusion(root=tree.root, leaf=other, index=index, n_leaves=len(leaves), path=tree.path(index))


@given(leaf_lists, st.data())
def test_a_flipped_bit_of_the_path_or_the_root_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    tree, index = MerkleTree(leaves), data.draw(st.integers(0, len(leaves) - 1))
    hashes = [*tree.path(index), tree.root]
    which, bit = data.draw(st.integers(0, len(hashes) - 1)), data.draw(st.integers(0, 255))
    flipped = bytearray(hashes[which])
    flipped[bit // 8] ^= 1 << bit % 8
    hashes[which] = bytes(flipped)
    with pytest.raises(CommitmentError, match="does not lead to the root"):
        verify_inclusion(
            root=hashes[-1], leaf=leaves[index], index=index, n_leaves=len(leaves), path=hashes[:-1]
        )  # fmt: skip


@given(leaf_lists, st.data())
def test_a_path_of_another_length_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    tree, index = MerkleTree(leaves), data.draw(st.integers(0, len(leaves) - 1))
    path = list(tree.path(index))
    longer = [*path, bytes(32)]
    with pytest.raises(CommitmentError, match="expected a shorter path"):
        verify_inclusion(root=tree.root, leaf=leaves[index], index=index, n_leaves=len(leaves), path=longer)
    if path:
        with pytest.raises(CommitmentError, match="expected a longer path"):
            verify_inclusion(root=tree.root, leaf=leaves[index], index=index, n_leaves=len(leaves), path=path[:-1])


@given(st.lists(st.binary(min_size=1, max_size=4), min_size=2, max_size=24, unique=True), st.data())
def test_another_index_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    tree, index = MerkleTree(leaves), data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda i: i != index))
    with pytest.raises(CommitmentError):
        verify_inclusion(root=tree.root, leaf=leaves[index], index=other, n_leaves=len(leaves), path=tree.path(index))


@given(leaf_lists, st.integers(1, 80), st.data())
def test_another_number_of_leaves_is_refused_unless_the_way_up_is_the_same(
    leaves: list[bytes], n_leaves: int, data: st.DataObject
) -> None:
    """RFC 6962 does not bind the number of leaves; whoever relies on it has it from elsewhere, as the sessions do."""
    tree, index = MerkleTree(leaves), data.draw(st.integers(0, len(leaves) - 1))
    same_way = index < n_leaves and sides(index, n_leaves) == sides(index, len(leaves))
    try:
        verify_inclusion(root=tree.root, leaf=leaves[index], index=index, n_leaves=n_leaves, path=tree.path(index))
    except CommitmentError:
        assert not same_way
    else:
        assert same_way


@pytest.mark.parametrize(("index", "n_leaves"), [(-1, 3), (3, 3), (0, 0), (0, MAX_LEAVES + 1)])
def test_an_index_outside_the_tree_is_refused(index: int, n_leaves: int) -> None:
    with pytest.raises(CommitmentError, match="expected an index from 0 to"):
        verify_inclusion(root=bytes(32), leaf=b"", index=index, n_leaves=n_leaves, path=[])


def test_a_sibling_of_another_size_is_refused() -> None:
    tree = MerkleTree([b"a", b"b"])
    with pytest.raises(CommitmentError, match="of 32-byte hashes"):
        verify_inclusion(root=tree.root, leaf=b"a", index=0, n_leaves=2, path=[bytes(33)])


def test_a_node_cannot_pass_for_a_leaf() -> None:
    tree = MerkleTree([b"a", b"b", b"c", b"d"])
    forged = leaf_hash(b"a") + leaf_hash(b"b")
    assert node_hash(leaf_hash(b"a"), leaf_hash(b"b")) != leaf_hash(forged)
    with pytest.raises(CommitmentError, match="does not lead to the root"):
        verify_inclusion(root=tree.root, leaf=forged, index=0, n_leaves=2, path=tree.path(0)[1:])


def test_a_tree_of_nothing_and_a_path_to_nowhere_are_bugs() -> None:
    with pytest.raises(InternalError, match="at least one leaf"):
        MerkleTree([])
    with pytest.raises(InternalError, match="expected a leaf from 0 to 1, got 2"):
        MerkleTree([b"a", b"b"]).path(2)
