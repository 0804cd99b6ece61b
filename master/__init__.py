"""The master: a pure machine that decides, and the shell that owns it."""
