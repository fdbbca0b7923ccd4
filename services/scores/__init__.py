"""Score files: their format, the rules that fuse them, and those that users bring. Open `files` first."""
