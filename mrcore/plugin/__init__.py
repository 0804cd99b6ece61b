"""The user's code: packed into a bundle, loaded, checked, and called."""
