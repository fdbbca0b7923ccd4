"""What stages left on disk: listed, and dropped where nobody needs it, the least recently used first."""
