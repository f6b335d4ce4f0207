"""The pages for people: rendered here, through the same services that the API uses."""
