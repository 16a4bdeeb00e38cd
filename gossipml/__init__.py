"""Machine learning with no server."""
