"""Where trainings run: one interface (``engine``), a file for each kind of machine.

    local         this process and one device
    processes     a worker process for each of several devices of this machine
    ray_engine    a Ray cluster; imports Ray when it is asked for
    choice        which of them a command means

``chunks`` says how many subsets are trained at once and what one chunk takes, ``dispatch`` deals
chunks out to several workers, and again when one is lost. An engine keeps nothing.
"""

from prover.engines.engine import Done, Engine, OnDone, in_order

__all__ = ["Done", "Engine", "OnDone", "in_order"]
