"""Model bundles: a trained system in one file, which needs neither the database nor a server."""
