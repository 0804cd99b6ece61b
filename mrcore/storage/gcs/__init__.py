"""Google Cloud Storage: the back end of `gs://`."""
