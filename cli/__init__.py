"""The `twostream` command: an HTTP client of the API, and the embedded stack of one machine."""

from cli.client import Client, CommandError

__all__ = ("Client", "CommandError")
