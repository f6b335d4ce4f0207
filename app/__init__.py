"""The server: patches in, recorded answers out."""
