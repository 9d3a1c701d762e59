"""The verifier's side of a session: trust nothing, decide (THEORY 4, 8).

Steps carry proto/SPEC.md's numbers (V1 ...). The session asks for entropy only at the moment it
is needed: the challenge's seed after the claim is in and checked, the spot check's after the
answers are in and checked. It asks for the choice of rounds likewise: nothing is planned on an
unverified claim. Nothing that the prover says raises out of here: a broken protocol is a REJECT,
with the reason. Which certificate decides is the registry's business.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from protocol.certificate import spot_check
from protocol.certificate.method import Answered, Certificate, Judge
from protocol.certificate.planning import Seen
from protocol.certificate.registry import method_named
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Rounds, Terms
from protocol.commitments import MerkleTree, PublicKey
from protocol.encoding import SEED_BYTES, Seed
from protocol.errors import (
    ArgumentError,
    CommitmentError,
    InternalError,
    MalformedMessage,
    PeerError,
    Reason,
    TrainingError,
)
from protocol.game import Game
from protocol.game.sampling import Bases, Draw, choose
from protocol.game.tilting import Tilts
from protocol.session.effects import (
    ChooseRounds,
    Chosen,
    DrawEntropy,
    Drawn,
    Effect,
    Event,
    Finish,
    Lost,
    OfferStop,
    Received,
    Send,
    Settled,
    Train,
    Trained,
)
from protocol.session.machine import Machine, State
from protocol.session.messages import (
    MAX_TEXT,
    NONCE_BYTES,
    PROTOCOL_VERSION,
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    RoundsChosen,
    Sender,
    answer_leaves,
)
from protocol.session.reasons import false_answers, statement, undecided
from protocol.session.transcript import Entry, Transcript
from protocol.session.verdict import Verdict

_ASKED_BY: dict[type[Event], type[Effect]] = {
    Drawn: DrawEntropy, Chosen: ChooseRounds, Trained: Train, Settled: OfferStop,
}  # fmt: skip
"""The shell's events, each the answer to one effect."""


class VerifierSession:
    """One session, about a game that the verifier trusts, on the verifier's terms.

    Parameters
    ----------
    game : the statement; its digest was checked against what the user named.
    terms : what is asked for.
    prover_key : the key that the claim must be signed with; None takes any.
    """

    def __init__(self, *, game: Game, terms: Terms, prover_key: PublicKey | None = None) -> None:
        self._method = method_named(terms.method)
        self._method.check_terms(game, terms)
        self._game, self._terms, self._prover_key = game, terms, prover_key
        self._rounds: Rounds | None = None
        self._machine = Machine()
        self._committed: ClaimCommitted | None = None
        self._draw: Draw | None = None
        self._answers: Answers | None = None
        self._check_seed: Seed | None = None
        self._evaluations: np.ndarray = np.empty(0, dtype=np.int64)
        self._judge: Judge | None = None
        self._round = 0
        self._awaited: type[Effect] | None = None
        self._decision: tuple[Outcome, str] | None = None
        self._spot_checks: list[SpotCheck] = []
        self._certificate: Certificate | None = None
        self._n_retrainings = 0
        self.transcript = Transcript(game.digest)

    @property
    def round(self) -> int:
        """The round under way, from 0."""
        return self._round

    @property
    def is_over(self) -> bool:
        return self._machine.is_over

    def start(self) -> list[Effect]:
        """Return the first effects: entropy for the session's nonce."""
        self._awaited = DrawEntropy
        return [DrawEntropy(NONCE_BYTES)]

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and return what is to be done, in order; nothing that comes after the end changes it.

        Raises
        ------
        InternalError, TrainingError
            The shell's own event is not what was asked for, or its training gave no number: never the prover's fault.
        ArgumentError
            The rounds chosen are none that the method can judge, or change one that was drawn.
        """
        asked_by = _ASKED_BY.get(type(event))
        if asked_by is None and self.is_over:
            return []
        if asked_by is not None and asked_by is not self._awaited:
            state = self._machine.state.value
            raise InternalError(f"the shell gave {type(event).__name__}, which was not asked for in state {state}")
        if (
            isinstance(event, Lost) and self._awaited is not Send
        ):  # a prover is lost only while something is due from it
            raise InternalError(
                f"the shell lost the prover in state {self._machine.state.value}, where nobody waits for it"
            )
        try:
            effects = self._handle(event)
        except PeerError as error:
            if asked_by is not None:
                raise InternalError(f"the shell's {type(event).__name__} broke the protocol: {error}") from error
            effects = self._reject(f"the prover broke the protocol: {error}", error.reason)
        self._awaited = type(effects[-1])
        return effects

    def _handle(self, event: Event) -> list[Effect]:
        match event:
            case Received(message=message):
                return self._take_message(message)
            case Lost(reason=reason):
                return self._reject(reason)
            case Drawn(entropy=entropy):
                return self._take_entropy(entropy)
            case Chosen(rounds=rounds):
                return self._take_rounds(rounds)
            case Trained(outputs=outputs):
                return self._take_retrained(outputs)
            case Settled(stop=stop):
                return self._settle(stop=stop)

    def _take_message(self, message: Message) -> list[Effect]:
        match message:
            case ClaimCommitted():
                return self._take_claim(message)
            case Answers():
                return self._take_answers(message)
            case Aborted():
                self._record(Sender.PROVER, message)
                return [Finish(self._verdict(Outcome.REJECT, f"the prover left: {message.text}"))]
        self._machine.step(Sender.PROVER, message)  # raises: no row of the table takes it
        raise InternalError(f"the state table let the prover send {type(message).__name__}")

    def _take_entropy(self, entropy: bytes) -> list[Effect]:
        expected = NONCE_BYTES if self._machine.state is State.START else SEED_BYTES
        if len(entropy) != expected:
            raise InternalError(f"expected {expected} bytes of entropy, got {len(entropy)}")
        match self._machine.state:
            case State.START:
                return self._open(entropy)
            case State.PLANNED | State.CHECKED:
                return self._challenge(Seed(entropy))
            case State.ANSWERED:
                return self._spot_check(Seed(entropy))
            case state:
                raise InternalError(f"entropy was asked for in state {state.value}")

    def _open(self, nonce: bytes) -> list[Effect]:
        opening = Opening(version=PROTOCOL_VERSION, nonce=nonce, task_digest=self._game.digest)
        self._record(Sender.VERIFIER, opening)
        return [Send(opening)]

    def _take_claim(self, committed: ClaimCommitted) -> list[Effect]:
        self._machine.step(Sender.PROVER, committed)  # V1: in order
        signed = committed.signed
        if self._prover_key is not None and signed.public_key != self._prover_key:  # V2
            raise CommitmentError("claim: expected the signature of the prover that was named, got another key's")
        committed.check(self._game)  # V3, V4, V5
        self.transcript.append(Entry(Sender.PROVER, committed))
        self._committed = committed
        return [self._choose(committed, None)]  # only now is anything planned

    def _choose(self, committed: ClaimCommitted, seen: Seen | None) -> ChooseRounds:
        return ChooseRounds(committed.claim, committed.signed.figures, seen, self.round)

    def _take_rounds(self, rounds: Rounds) -> list[Effect]:
        if self._committed is None:
            raise InternalError("rounds were asked for before a claim was in")
        claim = self._committed.claim
        self._check_rounds(rounds)
        self._record(Sender.VERIFIER, RoundsChosen(rounds=rounds), private=True)
        self._rounds = rounds
        if self._judge is None:
            self._judge = self._method.judge(self._game, claim, self._terms, rounds)
        else:
            self._judge.replan(rounds)
        refusal = self._method.refusal(self._game, claim, self._terms, rounds) if self.round == 0 else None
        if refusal is not None:
            return self._close(Outcome.REJECT, refusal)
        if self.round == len(rounds.looks):
            return self._conclude()
        return [DrawEntropy(SEED_BYTES)]  # only now does a challenge exist (THEORY 8)

    def _check_rounds(self, rounds: Rounds) -> None:
        try:
            for look in rounds.looks:
                look.check_fits(self._game)
            self._method.check_rounds(self._game, self._terms, rounds)
        except MalformedMessage as error:  # the shell's choice, and nothing that a peer said
            raise ArgumentError(f"rounds: {error}") from error
        for number, look in enumerate(rounds.looks):
            if look.bases is not Bases.DRAWN and self._method.is_answered(self._terms, number):  # P3 refuses it
                raise ArgumentError(f"rounds: expected drawn bases in round {number}, which the prover answers")
        drawn = () if self._rounds is None else self._rounds.looks[: self.round]
        if rounds.looks[: self.round] != drawn:
            raise ArgumentError(f"rounds: expected the first {self.round} rounds, already drawn, to stay as they are")

    def _challenge(self, seed: Seed) -> list[Effect]:
        rounds, committed = self._open_rounds()
        design = rounds.looks[self.round]
        along = Tilts(committed.claim.scores) if design.bases is Bases.TILTED else None
        self._draw = Draw(seed=seed, design=design, along=along)
        challenge = Challenge(round=self.round, draw=self._draw)
        answered = self._method.is_answered(self._terms, self.round)
        self._record(Sender.VERIFIER, challenge, private=not answered)
        if answered:
            return [Send(challenge)]
        self._check_seed = None
        self._evaluations = np.arange(design.n_evaluations, dtype=np.int64)
        return [Train(self.round, self._draw, self._evaluations)]

    def _take_answers(self, answers: Answers) -> list[Effect]:
        self._machine.step(Sender.PROVER, answers)  # V6: in order
        draw, committed = self._open_round()
        expected = (draw.n_evaluations, self._game.n_targets)
        if answers.round != self.round or answers.outputs.shape != expected:  # V7
            raise MalformedMessage(
                f"answers: expected {expected} for round {self.round}, got {answers.outputs.shape} for {answers.round}"
            )
        game = self._game
        if not bool(((answers.outputs >= game.lo) & (answers.outputs <= game.hi)).all()):  # V8
            raise MalformedMessage("answers: expected every output within its target's range, got one outside")
        if MerkleTree(answer_leaves(game, draw, answers.outputs)).root != answers.root:  # V9
            raise CommitmentError("answers: the outputs that came are not those under the Merkle root")
        signed = Answers.digest_of(self.transcript.spoken, answers.round, answers.root)
        committed.signed.public_key.verify(answers.signature, signed, "answers")  # V10
        self.transcript.append(Entry(Sender.PROVER, answers))
        self._answers = answers
        return [DrawEntropy(SEED_BYTES)]  # only now do spot-check numbers exist (THEORY 8)

    def _spot_check(self, seed: Seed) -> list[Effect]:
        draw, _ = self._open_round()
        rounds, _ = self._open_rounds()
        self._check_seed, size = seed, self._method.check_size(draw.design)
        chosen = choose(seed, draw.n_evaluations // size, rounds.n_checks)
        self._evaluations = (size * chosen[:, None] + np.arange(size)).ravel()
        return [Train(self.round, draw, self._evaluations)]

    def _take_retrained(self, outputs: Float64[np.ndarray, "k t"]) -> list[Effect]:
        draw, _ = self._open_round()
        expected = (len(self._evaluations), self._game.n_targets)
        if outputs.shape != expected:
            raise InternalError(f"expected retrained outputs of shape {expected}, got {outputs.shape}")
        if not bool(np.isfinite(outputs).all()):
            raise TrainingError("retraining: expected finite outputs, got NaN or infinity: no verdict can rest on them")
        retrained = Retrained(
            round=self.round, check_seed=self._check_seed, evaluations=self._evaluations, outputs=outputs
        )
        self._record(Sender.VERIFIER, retrained, private=True)
        self._n_retrainings += len(outputs)
        if self._answers is None:
            return self._decide(draw, outputs, None)
        rounds, _ = self._open_rounds()
        check = spot_check.compare(
            evaluations=self._evaluations,
            answered=self._answers.outputs[self._evaluations],
            retrained=outputs,
            tolerance=self._game.tolerance,
            n_answers=draw.n_evaluations,
            delta=self._method.check_delta(self._terms, rounds),
            size=self._method.check_size(draw.design),
        )
        self._spot_checks.append(check)
        if check.mismatches:  # V11
            return self._close(Outcome.REJECT, false_answers(check, len(outputs)))
        merged = self._answers.outputs.copy()
        merged[self._evaluations] = outputs
        return self._decide(draw, merged, check)

    def _decide(self, draw: Draw, outputs: Float64[np.ndarray, "m t"], check: SpotCheck | None) -> list[Effect]:
        _, committed = self._open_rounds()
        if self._judge is None:
            raise InternalError("no claim is in, and yet there are outputs")
        answered = Answered(draw=draw, outputs=outputs, trained=self._evaluations, spot_check=check)
        self._certificate = self._judge.take(answered)
        self._answers = None
        self._round += 1
        if self._method.replans_after(self._game, self._round - 1):
            return [self._choose(committed, self._judge.seen())]
        return self._conclude()

    def _conclude(self) -> list[Effect]:
        """Decide on what is known, or take the next round."""
        rounds, _ = self._open_rounds()
        certificate, is_last = self._certificate, self.round == len(rounds.looks)
        if certificate is None:
            if is_last:
                raise InternalError("the last round left no certificate")
            return [DrawEntropy(SEED_BYTES)]
        self._decision = decided = self._decided(certificate)
        if is_last:
            name = statement(self._method, self._terms)
            left_open = Outcome.INCONCLUSIVE, undecided(certificate, name, self._terms.epsilon)
            return self._close(*(decided or left_open))
        return [OfferStop(certificate)] if decided else [DrawEntropy(SEED_BYTES)]

    def _decided(self, certificate: Certificate) -> tuple[Outcome, str] | None:
        """What the bounds say, and why; None while they say nothing."""
        name, epsilon = statement(self._method, self._terms), self._terms.epsilon
        accepts, rejects = certificate.upper_bound <= epsilon, certificate.lower_bound > epsilon  # V12, V13
        if accepts and rejects:
            return Outcome.INCONCLUSIVE, f"the bounds on the {name} contradict each other"
        if accepts:
            return Outcome.ACCEPT, f"{name} is at most {certificate.upper_bound:.4g} <= {epsilon:g}"
        if rejects:
            return Outcome.REJECT, f"{name} is at least {certificate.lower_bound:.4g} > {epsilon:g}"
        return None

    def _settle(self, *, stop: bool) -> list[Effect]:
        if self._decision is None:
            raise InternalError("whether to stop was asked, and nothing is decided")
        decision, self._decision = self._decision, None
        return self._close(*decision) if stop else [DrawEntropy(SEED_BYTES)]

    def _close(self, outcome: Outcome, reason: str) -> list[Effect]:
        closing = Closing(outcome=outcome, reason=reason)
        self._record(Sender.VERIFIER, closing)
        return [Send(closing), Finish(self._verdict(outcome, reason))]

    def _reject(self, reason: str, code: Reason = Reason.FAILED) -> list[Effect]:
        """End on a broken protocol. Leaving after the challenge counts as failing it (THEORY 8)."""
        if self._machine.is_over:
            raise InternalError(f"the session is over, and yet: {reason}")
        aborted = Aborted(reason=code, text=reason[:MAX_TEXT])
        self._record(Sender.VERIFIER, aborted)
        return [Send(aborted), Finish(self._verdict(Outcome.REJECT, reason))]

    def _verdict(self, outcome: Outcome, reason: str) -> Verdict:
        return Verdict(
            outcome=outcome,
            terms=self._terms,
            rounds=self._rounds,
            task_digest=self._game.digest,
            claim_root=None if self._committed is None else self._committed.signed.root,
            reasons=(reason,),
            certificate=self._certificate,
            spot_checks=tuple(self._spot_checks),
            n_retrainings=self._n_retrainings,
        )

    def _record(self, sender: Sender, message: Message, *, private: bool = False) -> None:
        self._machine.step(sender, message, own=private)
        self.transcript.append(Entry(sender, message, private))

    def _open_rounds(self) -> tuple[Rounds, ClaimCommitted]:
        if self._rounds is None or self._committed is None:
            raise InternalError(f"no rounds were chosen in state {self._machine.state.value}")
        return self._rounds, self._committed

    def _open_round(self) -> tuple[Draw, ClaimCommitted]:
        if self._draw is None or self._committed is None:
            raise InternalError(f"no challenge is open in state {self._machine.state.value}")
        return self._draw, self._committed
