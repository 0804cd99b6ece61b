"""A cluster as a client sees it: requests, submission, and a job followed to its end."""
