"""The worker: a pure machine that compares wanted with held, and the shell around it."""
