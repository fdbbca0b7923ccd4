"""The state machine of stages and experiments, in Postgres. Open `claim` first, then `attempts`."""
