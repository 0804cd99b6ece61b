"""Benchmarks: each measures mrcore against a peer, in one run, with outputs verified."""
