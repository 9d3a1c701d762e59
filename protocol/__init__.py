"""What both parties agree on: the statement, the messages, the mathematics and the verdict.

Importing this package loads none of torch, grpc, google, sklearn: only ``protocol.training``
and ``protocol.wire`` do. Below, each room may import those to its right:

    training | wire -> session -> certificate -> commitments | sampling | harmonic -> claim
    -> taskfile -> task -> encoding -> errors
"""

__version__ = "0.1.0"
