"""The worker's decisions: pure, without clock or I/O."""
