"""Programs that measure what the project claims; each is named as a claim. See RESULTS.md."""
