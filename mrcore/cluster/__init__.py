"""Clusters as objects of a program: futures, calls, jobs and status."""
