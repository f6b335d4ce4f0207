"""The web pages, through the same services as the API."""
