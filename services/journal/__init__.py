"""What happened, for those who read events, and what MLflow has yet to hear."""
