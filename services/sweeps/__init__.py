"""Sweeps: a search over the fields of an experiment, whose trials are experiments. Open `conductor` first.

space      which configurations there are, each checked before anything runs
accuracy   what a trial has reached by now, from what its stages reported
study      Optuna: what to try next, and what to end early
sweeps     the rows: begun, looked at, cancelled
turn       one step of one sweep, which another process can take up anywhere
conductor  the loop that takes these steps, in one process of the fleet
analysis   which fields mattered
"""
