"""Tells one address, which the settings name, of answers that need a person and of changed models."""
