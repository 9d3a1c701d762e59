"""``python -m verifier.cli``, where no ``verifier`` is installed."""

from verifier.cli import main

main()
