"""The decisions of a fleet: pure."""
