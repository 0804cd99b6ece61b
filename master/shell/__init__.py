"""The master's I/O around its pure core: journal, services, commits."""
