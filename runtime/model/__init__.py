"""A loaded model: its stages, its plans, and the scheduler that owns the device."""
