"""Benchmarks: one file a question, each pairs us with a peer or a floor in one run and prints the ratio."""
