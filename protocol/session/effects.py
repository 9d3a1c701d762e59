"""What a session asks of its shell, and what the shell tells it.

Training is an effect, and so is everything else that is not thought: a session never trains,
waits, sends, reads a clock or draws entropy. It takes an event and returns effects; the shell
performs them in order and feeds back what came of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.certificate.method import Certificate
from protocol.certificate.planning import Seen
from protocol.certificate.terms import Rounds
from protocol.claim import Claim, Figures
from protocol.game.sampling import Draw
from protocol.session.messages import Message
from protocol.session.verdict import Verdict


@dataclass(frozen=True)
class Send:
    """Effect: send this to the other party."""

    message: Message


@dataclass(frozen=True)
class DrawEntropy:
    """Effect: give me this many bytes of fresh entropy, as :class:`Drawn`. Verifier only."""

    n_bytes: int


@dataclass(frozen=True, eq=False)
class ChooseRounds:
    """Effect: choose the rounds, and give me :class:`Chosen`. Verifier only, and only once the claim is checked.

    claim, figures : the prover's, for expectation only. seen : what the verifier's own pilot says, once it is in.
    n_drawn : rounds drawn already, which the next choice keeps.
    """

    claim: Claim
    figures: Figures
    seen: Seen | None
    n_drawn: int


@dataclass(frozen=True, eq=False)
class Train:
    """Effect: train on these evaluations of the draw, and give me :class:`Trained`.

    evaluations : shape (k,), ascending numbers of evaluations.
    """

    round: int
    draw: Draw
    evaluations: Int64[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class OfferStop:
    """Effect: the bounds decide, and rounds are left; say whether to stop here, as :class:`Settled`.

    Every certificate holds at all of its looks at once, so going on is the verifier's own choice: to narrow what else
    the rounds are for, such as payouts.
    """

    certificate: Certificate


@dataclass(frozen=True)
class Finish:
    """Effect: the session is over, with this verdict (verifier) or with none (prover)."""

    verdict: Verdict | None


Effect: TypeAlias = Send | DrawEntropy | ChooseRounds | Train | OfferStop | Finish


@dataclass(frozen=True)
class Received:
    """Event: the other party sent this."""

    message: Message


@dataclass(frozen=True)
class Drawn:
    """Event: the entropy that was asked for."""

    entropy: bytes


@dataclass(frozen=True)
class Chosen:
    """Event: the rounds that were asked for."""

    rounds: Rounds


@dataclass(frozen=True)
class Settled:
    """Event: whether to stop, where :class:`OfferStop` asked."""

    stop: bool


@dataclass(frozen=True, eq=False)
class Trained:
    """Event: outputs of the evaluations asked for, clipped; shape (k, T), in their order."""

    outputs: Float64[np.ndarray, "k t"]


@dataclass(frozen=True)
class Lost:
    """Event: the other party broke the protocol, aborted, or cannot be reached any more."""

    reason: str


Event: TypeAlias = Received | Drawn | Chosen | Trained | Settled | Lost
