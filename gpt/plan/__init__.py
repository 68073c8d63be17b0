"""The time, memory and cost of a run before it is made; the whole of the params."""
