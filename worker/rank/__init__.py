"""What runs in a stage's process, which knows no database, broker or tracker and gets no secret.

Open ``run`` first: a task file in, events and a result file out. ``zygote`` forks such processes.
"""
