"""The vocabulary of the project: plain values without I/O."""
