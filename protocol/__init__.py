"""What both parties agree on: the statement, the messages, the mathematics and the verdict.

Importing this package loads none of torch, grpc, google, sklearn: only ``protocol.training`` and ``protocol.wire`` do.
Each room may import those below it:

    training, wire                   what a recipe computes; domain values as protobuf and as files
    session                          messages, both roles, transcript, verdict, recheck
    certificate                      bounds on a claim's gap, one folder a method
    commitments                      Merkle trees and signatures
    claim                            scores and intercepts, and what the prover says of them
    taskfile                         a task as TOML
    recipefile, task                 the written statement of a game
    numerics                         the tolerance of an answer
    tomltext, recipes                one file a recipe
    game                             functions on subsets, their measure, how subsets are drawn
    encoding, errors                 canonical bytes and digests; whose fault it is
"""

__version__ = "0.1.0"
