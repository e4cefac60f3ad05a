"""Looking at models: bench, verify, calibration, the demo."""
