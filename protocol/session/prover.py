"""The prover's side of a session: commit, answer, be done.

Steps carry proto/SPEC.md's numbers (P1 ...). A message that breaks the order or the limits
raises a ``PeerError`` and changes nothing; the shell reports it to the verifier.
"""

from __future__ import annotations

import numpy as np

from protocol.claim import Claim
from protocol.commitments import MerkleTree, SigningKey
from protocol.errors import InternalError, MalformedMessage, OutOfOrder, Reason, Refused, TrainingError
from protocol.game import Game
from protocol.game.sampling import Bases
from protocol.session.effects import Effect, Event, Finish, Lost, Received, Send, Train, Trained
from protocol.session.machine import Machine, State
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Opening,
    Retrained,
    RoundsChosen,
    Sender,
    SignedClaim,
    answer_leaves,
)
from protocol.session.transcript import Entry, Transcript


class ProverSession:
    """One verifier's session.

    Parameters
    ----------
    game : the statement that the claim is about.
    claim, signed : what is claimed, and the commitment to it.
    key : signs the answers; its public half is in ``signed``.
    max_evaluations : most trainings answered over all rounds; does not affect outputs.
    """

    def __init__(self, *, game: Game, claim: Claim, signed: SignedClaim, key: SigningKey, max_evaluations: int) -> None:
        self._game, self._claim, self._signed, self._key = game, claim, signed, key
        self._max_evaluations = max_evaluations
        self._machine = Machine()
        self._challenges: list[Challenge] = []
        self.transcript = Transcript(game.digest)

    @property
    def is_over(self) -> bool:
        return self._machine.is_over

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and return what is to be done, in order.

        Raises
        ------
        PeerError
            The message is out of order, about another task, or asks for too much.
        InternalError, TrainingError
            What was trained is not what was asked for, or no number.
        """
        match event:
            case Received(message=Opening() as opening):
                return self._open(opening)
            case Received(message=Challenge() as challenge):
                return self._take_challenge(challenge)
            case Received(message=Closing() | Aborted() as last):
                self._take(last)
                return [Finish(None)]
            case Received(message=(RoundsChosen() | Retrained()) as kept):
                # The table takes these two, for the verifier's own record.
                raise OutOfOrder(f"expected what a verifier sends, got {type(kept).__name__}, which it keeps to itself")
            case Received(message=other):
                self._machine.step(Sender.VERIFIER, other)  # raises: no row of the table takes it
                raise InternalError(f"the state table let the verifier send {type(other).__name__}")
            case Trained(outputs=outputs):
                return self._answer(outputs)
            case Lost(reason=reason):
                return self._say(Aborted(reason=Reason.FAILED, text=reason[:1000]), then=[Finish(None)])
            case _:
                raise InternalError(f"a prover's session takes no {type(event).__name__}")

    def _open(self, opening: Opening) -> list[Effect]:
        if opening.task_digest != self._game.digest:  # P1
            raise Refused(
                f"expected a session about task {self._game.digest.hex()[:16]}, which is served here, "
                f"got {opening.task_digest.hex()[:16]}",
                Reason.WRONG_TASK,
            )
        self._take(opening)
        return self._say(ClaimCommitted(signed=self._signed, claim=self._claim))  # P2

    def _take_challenge(self, challenge: Challenge) -> list[Effect]:
        design = challenge.draw.design
        design.check_fits(self._game)  # P3
        if design.bases is not Bases.DRAWN:
            raise MalformedMessage("design: expected drawn bases, since others are for rounds of the verifier's own")
        total = design.n_evaluations + sum(c.draw.n_evaluations for c in self._challenges)
        if total > self._max_evaluations:  # P4
            raise Refused(
                f"expected at most {self._max_evaluations} retrainings in a session, got {total}", Reason.TOO_LARGE
            )
        least = self._challenges[-1].round + 1 if self._challenges else 0
        if challenge.round < least:  # P5: rounds of the verifier's own may lie between
            raise Refused(f"expected round {least} or a later one, got round {challenge.round}", Reason.OUT_OF_ORDER)
        self._take(challenge)
        self._challenges.append(challenge)
        everything = np.arange(challenge.draw.n_evaluations, dtype=np.int64)
        return [Train(challenge.round, challenge.draw, everything)]

    def _answer(self, outputs: np.ndarray) -> list[Effect]:
        if self._machine.state is not State.CHALLENGED:
            raise InternalError(f"no training was asked for in state {self._machine.state.value}")
        challenge = self._challenges[-1]
        expected = (challenge.draw.n_evaluations, self._game.n_targets)
        if outputs.shape != expected:
            raise InternalError(f"expected outputs of shape {expected}, got {outputs.shape}")
        if not bool(np.isfinite(outputs).all()):
            raise TrainingError("answers: expected finite outputs, got NaN or infinity: a training failed")
        root = MerkleTree(answer_leaves(self._game, challenge.draw, outputs)).root  # P6
        signature = self._key.sign(Answers.digest_of(self.transcript.spoken, challenge.round, root))
        return self._say(Answers(round=challenge.round, outputs=outputs, root=root, signature=signature))

    def _take(self, message: Opening | Challenge | Closing | Aborted) -> None:
        self._machine.step(Sender.VERIFIER, message)
        self.transcript.append(Entry(Sender.VERIFIER, message))

    def _say(self, message: ClaimCommitted | Answers | Aborted, then: list[Effect] | None = None) -> list[Effect]:
        self._machine.step(Sender.PROVER, message)
        self.transcript.append(Entry(Sender.PROVER, message))
        return [Send(message), *(then or [])]
