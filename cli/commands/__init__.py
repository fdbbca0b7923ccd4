"""One module for each group of commands; `cli.main` puts them together.

Every command loads all of them, so that what takes long to load (HTTPX, Rich, YAML, NumPy) is imported by the function
that uses it."""
