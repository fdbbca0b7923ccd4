"""Frames of a video file: every one, in the order of their display, or a `DataError` that says why not.

Open ``decode`` first; ``container`` says what a file is, ``order`` which packet shows which frame.
"""
