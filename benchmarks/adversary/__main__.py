"""Search for games, claims, figures and false answers that make a certificate fail.

    python -m benchmarks.adversary [--certificate moments] [--answers own] [--seconds 600] [--seed 0] [--kurtosis K]

Prints the worst case within the promise, its true relative gap (just above epsilon), the kurtosis of Y in the design in
use, and how often whole sessions accepted it, on seeds that had no part in finding it, with Clopper and Pearson's
limits at 95%. Exit status 1 where the lower limit is above delta. With a prover's answers the candidates lie, too, on
as many pairs as pays most, and are found out by the checks or not.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.adversary.screen import Screening
from benchmarks.adversary.search import Candidate, search, within_seconds
from benchmarks.adversary.sessions import Asking
from protocol.certificate.registry import DEFAULT, METHODS
from protocol.certificate.terms import Answers


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adversary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--certificate", choices=list(METHODS), default=DEFAULT)
    parser.add_argument("--answers", choices=[each.value for each in Answers], default=Answers.OWN.value)
    parser.add_argument("--kurtosis", type=float, help="the bound that is assumed; by default the certificate's own")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _described(candidate: Candidate) -> str:
    return f"{candidate.genome}"


def main() -> int:
    """Search, print what was found, and return 1 if the promise is broken."""
    args = _arguments()
    asking = Asking(method=args.certificate, answers=Answers(args.answers), kurtosis=args.kurtosis)
    found = search(Screening(asking=asking), args.seed, within_seconds(args.seconds))
    if found.rate is None:
        raise RuntimeError("whole sessions were expected")
    print(
        f"{args.certificate}, {args.answers}: {found.n_candidates} candidates in {args.seconds:g} s, seed {args.seed}"
    )
    print(
        f"worst within the promise: {found.rate} of {found.rate.runs} fresh sessions accepted, delta {asking.delta:g}"
    )
    print(f"  true relative gap {found.gap:.4f}, kurtosis {found.kurtosis:.3g}; quick look {found.worst.score:.4f}")
    print(f"  {_described(found.worst)}")
    if found.beyond is not None:
        beyond = found.beyond
        print(
            f"beyond the promise: quick look {beyond.score:.4f}, kurtosis {beyond.kurtosis:.3g}: {_described(beyond)}"
        )
    is_broken = found.rate.limits[0] > asking.delta
    print("the promise is broken" if is_broken else "the promise holds here")
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
