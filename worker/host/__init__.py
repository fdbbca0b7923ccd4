"""What runs in the Celery process: claims, supervision, heartbeats, endings. It imports no torch and holds no GPU.

Open ``tasks`` first: it claims a stage, ``attempt`` lays it out, ``forkserver`` starts it, ``supervise`` watches it.
"""
