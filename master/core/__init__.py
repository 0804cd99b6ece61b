"""The master's decisions: pure, without clock, randomness or I/O."""
