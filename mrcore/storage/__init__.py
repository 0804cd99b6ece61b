"""Object stores behind one small Protocol (`mrcore.storage.base`)."""
