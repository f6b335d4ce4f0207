"""Sign-in at an identity provider: the real `oidc-provider` from npm, and one that misbehaves."""
