"""Every limit on what crosses the wire or lies in a file, in one place, with units.

A limit is checked before anything is allocated for what it bounds. Limits of the values
themselves (units, targets, evaluations, rounds) are the values' own: ``protocol.task``,
``protocol.game.sampling``, ``protocol.session.messages``.
"""

from __future__ import annotations

from protocol.certificate import terms
from protocol.session.messages import MAX_TEXT

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

MAX_MESSAGE_BYTES = 4 * MIB
"""Of one gRPC message: gRPC's own default. The largest task (100,000 targets) takes 2.1 MB."""

CHUNK_BYTES = 1 * MIB
"""Of claim or answers in one message of a stream; one row of answers (at most 0.8 MB) always fits."""

MAX_CLAIM_BYTES = 1 * GIB
"""Of a claim's numbers, 8 bytes each: 200 targets by 670,000 units, or 1,340 by 100,000."""

MAX_ANSWERS_BYTES = 1 * GIB
"""Of one round's outputs, 8 bytes each: 670,000 evaluations of 200 targets."""

MAX_FILE_BYTES = 2 * GIB - 1
"""Of a claim file or a transcript file: the most that one protobuf message can be."""

MAX_ENTRIES = 256
"""Of a transcript: 64 rounds of challenge, answers and retrained; opening, claim, two choices of rounds, last word."""

MAX_LOOKS = terms.MAX_LOOKS
"""Of a choice of rounds: there are no more rounds. Compared before the designs are made."""

MAX_TEXT_CHARS = MAX_TEXT
"""Of a closing's reason, an abort's or an error's text, and of a name in a task."""
