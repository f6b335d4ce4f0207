"""Keys and roles."""
