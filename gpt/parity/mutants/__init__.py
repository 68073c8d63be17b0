"""Mutants of GPT-2: mistakes that somebody could make, and how to make them."""
