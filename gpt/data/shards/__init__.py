"""A corpus of many files, each of which becomes tokens by itself."""
