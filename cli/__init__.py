"""The `twostream` command: an HTTP client of the API, and the embedded stack of one machine."""
