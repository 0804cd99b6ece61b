"""Rehearsals of disasters: real processes are hurt, and outputs compared with a sequential run."""
