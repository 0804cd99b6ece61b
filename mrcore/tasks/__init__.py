"""A map task and a reduce task as plain functions, and the child process that calls them."""
