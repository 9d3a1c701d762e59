"""Everything said, in order, chained by hashes (proto/SPEC.md, section 7).

A head covers an entry and all before it; the prover's answers and the verifier's signature are
over a head, so neither can be moved to another session.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.certificate.terms import Terms
from protocol.commitments import PublicKey, SigningKey
from protocol.encoding import Digest, digest
from protocol.session.messages import Message, Sender
from protocol.task import Task


@dataclass(frozen=True)
class Entry:
    """One message. ``private``: recorded by the verifier and never sent."""

    sender: Sender
    message: Message
    private: bool = False


@dataclass
class Transcript:
    """The record of one session, growing only at its end.

    ``spoken`` chains what both parties have seen and is what the prover signs over; ``head``
    chains the verifier's private entries, too, and is what the verifier signs when it files it.
    """

    task_digest: Digest
    entries: list[Entry] = field(default_factory=list)
    spoken: Digest = field(init=False)
    head: Digest = field(init=False)

    def __post_init__(self) -> None:
        entries, self.entries = self.entries, []
        self.spoken = self.head = digest("transcript", self.task_digest)
        for entry in entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Add one entry and move the heads that cover it."""
        self.entries.append(entry)
        said = (entry.sender.value, type(entry.message).__name__, entry.message.digest)
        self.head = digest("entry", self.head, entry.private, *said)
        if not entry.private:
            self.spoken = digest("spoken", self.spoken, *said)


@dataclass(frozen=True, kw_only=True)
class SignedTranscript:
    """A transcript as it is filed: the task, the verifier's terms, every entry, and its signature."""

    task: Task
    terms: Terms
    entries: tuple[Entry, ...]
    public_key: PublicKey
    signature: bytes

    @staticmethod
    def digest_of(terms: Terms, head: Digest) -> Digest:
        """Return what the verifier signs."""
        return digest("signed transcript", terms.digest, head)

    @property
    def transcript(self) -> Transcript:
        return Transcript(self.task.digest, list(self.entries))

    def check_signature(self) -> None:
        """Raise :class:`CommitmentError` unless ``public_key`` signed these terms and entries."""
        self.public_key.verify(self.signature, self.digest_of(self.terms, self.transcript.head), "transcript")


def sign_transcript(task: Task, terms: Terms, transcript: Transcript, key: SigningKey) -> SignedTranscript:
    """Return the transcript under the verifier's signature."""
    signature = key.sign(SignedTranscript.digest_of(terms, transcript.head))
    return SignedTranscript(
        task=task, terms=terms, entries=tuple(transcript.entries), public_key=key.public, signature=signature
    )
