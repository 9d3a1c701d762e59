"""The Merkle tree of RFC 6962, section 2.1, with SHA-256.

A leaf is hashed as SHA-256(0x00 || leaf) and a node as SHA-256(0x01 || left || right), so that
a leaf can never pass for a node. A tree of n leaves splits at the largest power of two below n.
The empty tree has no use here and is refused.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from protocol.encoding import DIGEST_BYTES, Digest
from protocol.errors import CommitmentError, InternalError

MAX_LEAVES = 1 << 32


def leaf_hash(leaf: bytes) -> Digest:
    """Return the hash of one leaf's bytes."""
    return Digest(hashlib.sha256(b"\x00" + leaf).digest())


def node_hash(left: bytes, right: bytes) -> Digest:
    """Return the hash of an inner node."""
    return Digest(hashlib.sha256(b"\x01" + left + right).digest())


class MerkleTree:
    """All hashes of a tree, level by level; O(n) to build, O(log n) for a path.

    Parameters
    ----------
    leaves : iterable of bytes
        At least one; hashed as they come, never held.
    """

    def __init__(self, leaves: Iterable[bytes]) -> None:
        level = [leaf_hash(leaf) for leaf in leaves]
        if not level:
            raise InternalError("a Merkle tree needs at least one leaf")
        self._levels = [level]
        while len(level) > 1:
            level = _parents(level)
            self._levels.append(level)

    @property
    def n_leaves(self) -> int:
        return len(self._levels[0])

    @property
    def root(self) -> Digest:
        return self._levels[-1][0]

    def path(self, index: int) -> tuple[Digest, ...]:
        """Return the audit path of leaf ``index``, from its sibling up to below the root."""
        if not 0 <= index < self.n_leaves:
            raise InternalError(f"expected a leaf from 0 to {self.n_leaves - 1}, got {index}")
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index >>= 1
        return tuple(path)


def verify_inclusion(*, root: bytes, leaf: bytes, index: int, n_leaves: int, path: Sequence[bytes]) -> None:
    """Raise :class:`CommitmentError` unless ``leaf`` is number ``index`` of the tree with ``root``.

    The algorithm of RFC 9162, section 2.1.3.2: the path's length is fixed by index and
    ``n_leaves``, so that no path of another shape is taken.
    """
    if not 0 <= index < n_leaves <= MAX_LEAVES:
        raise CommitmentError(f"inclusion proof: expected an index from 0 to {n_leaves - 1}, got {index}")
    position, last, node = index, n_leaves - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0 or len(sibling) != DIGEST_BYTES:
            raise CommitmentError("inclusion proof: expected a shorter path of 32-byte hashes")
        if position & 1 or position == last:
            node = node_hash(sibling, node)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise CommitmentError(f"inclusion proof: expected a longer path for {n_leaves} leaves")
    if not hmac.compare_digest(node, root):
        raise CommitmentError(f"inclusion proof: leaf {index} does not lead to the root that was committed")


def _parents(level: list[Digest]) -> list[Digest]:
    parents = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        parents.append(level[-1])  # an odd one is carried up: this is RFC 6962's split
    return parents
