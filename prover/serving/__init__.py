"""Serving a claim over gRPC to verifiers who may be anybody.

server    the listener: TLS, health, reflection, shutdown      servicer  decode, session, encode
sessions  which sessions there are                             live      one session and its rounds
journal   what a session must not forget                       worker    the one queue of trainings
streams   limits on what is open at once                       refusals  errors to what crosses the wire
limits    every budget, with its unit
"""
