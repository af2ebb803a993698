"""Settings of a run, and presets."""
