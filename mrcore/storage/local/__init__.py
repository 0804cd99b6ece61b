"""Files as objects: the back end of `file://`."""
