"""What the living do for the dead: see them die, adopt their journals, and say what they were killed by."""
