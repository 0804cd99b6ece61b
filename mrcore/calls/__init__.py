"""Functions, arguments, values and failures of calls, as they travel between processes."""
