"""Pages for people, rendered by the server; they work without scripts."""
