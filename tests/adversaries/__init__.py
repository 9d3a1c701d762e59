"""Provers that lie, one cheat a file, each named by its lie.

cheat      what a cheat is, what it has at hand, which defence stops it, how it ends
registry   all of them, in order
dishonest  a prover's session that lies as a cheat says
serve      the same over gRPC: python -m tests.adversaries.serve NAME --store DIR --port 0

A cheat says something false; it never breaks a hash or forges a signature, which nobody can. What it sends is
consistently committed and signed with its own key, except where the lie is about just that.
"""
