"""MLflow: the process that sends the outbox, and the server it sends to. Open `sender` first."""
