"""Measured numbers: how they were measured, their rows, their ranks. Open `protocol` first, then `results`."""
