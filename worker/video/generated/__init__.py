"""Clips that are made: shapes whose motion is their class, for tests and demos. Open ``motion_shapes`` first."""
