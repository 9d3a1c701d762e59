"""Recipe sgd in floating point: networks trained by gradient descent, many side by side."""
