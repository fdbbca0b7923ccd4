"""Datasets: annotation layouts read from their official lists, without a video library."""
