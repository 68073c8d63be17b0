"""Measurements of speed, in turn with other projects, against the limits of the machine."""
