"""Plan of disasters and account of what they cost: pure."""
