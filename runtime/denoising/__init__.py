"""The denoising loop: rows, jobs, their arrays and what is done between steps."""
