"""Tells users how experiments end, by a signed webhook and by a command. Open `sender` first."""
