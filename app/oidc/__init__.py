"""Sign-in of people at an OpenID Connect identity provider."""
