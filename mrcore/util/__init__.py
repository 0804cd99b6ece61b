"""Small tools without a subject of their own: time, text, units, copies of objects."""
