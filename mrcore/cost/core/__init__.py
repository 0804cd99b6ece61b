"""The arithmetic of costs: pure."""
