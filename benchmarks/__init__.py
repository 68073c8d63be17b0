"""Measurements of speed, in pairs, against other projects."""
