"""Errors, files and the strict loader of params: what every other folder imports."""
