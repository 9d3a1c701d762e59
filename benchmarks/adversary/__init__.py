"""A search for games, claims, figures and false answers that make a certificate fail (THEORY 1, 2)."""
