"""A task's data: read from a file or a bundled set, checked, scaled and split."""
