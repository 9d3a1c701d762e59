"""The paper's own protocol, Algorithm 1, as the baseline to compare with (THEORY 6)."""
