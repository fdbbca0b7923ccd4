"""What each kind of stage does: one module a kind, each with ``run(task, params, report)``."""
