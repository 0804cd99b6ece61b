"""The process that runs user code, and its conversation with the worker."""
