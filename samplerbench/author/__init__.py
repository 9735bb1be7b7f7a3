"""What `samplerbench new` writes: `two_step.py`, a plugin as it stands, and the texts of a project around it."""
