"""The worker's I/O around its pure core: the conversation, the children, the system."""
