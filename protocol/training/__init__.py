"""What a task means: its data, its recipe and its targets (the only room with torch).

Both parties run this same code; a prover may own faster ways to the same numbers.
"""

from protocol.training.chunks import ChunkSize
from protocol.training.data.datasets import Dataset, Table, load, read_table, split
from protocol.training.trainer import Outputs, Trainer

__all__ = ["ChunkSize", "Dataset", "Outputs", "Table", "Trainer", "load", "read_table", "split"]
