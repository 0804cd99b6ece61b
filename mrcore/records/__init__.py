"""Inputs cut into splits, readers of records, writers of output, codecs."""
