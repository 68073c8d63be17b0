"""The built-in corpus, whose entropy is known."""
