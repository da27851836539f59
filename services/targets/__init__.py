"""What `riddle eval` measures: a Riddle here or elsewhere, and other engines."""
