"""Dependencies that state which roles may call a route."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.access.caller import Caller, Role
from app.problems import Forbidden

bearer = HTTPBearer(auto_error=False, scheme_name="key", description="`Authorization: Bearer rsk_…`")


class RequireRole:
    """A dependency that admits the given roles and admins; returns the caller.

    The gate has checked the key before the route was looked up.
    """

    def __init__(self, *roles: Role) -> None:
        self.roles = frozenset({Role.ADMIN, *roles})

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)] = None
    ) -> Caller:
        caller: Caller = request.state.caller
        if caller.role not in self.roles:
            raise self.forbidden(caller)
        return caller

    def forbidden(self, caller: Caller) -> Forbidden:
        """The problem of a caller who has none of the roles."""
        needed = " or ".join(sorted(self.roles))
        return Forbidden(f"The key's role is {caller.role}, expected {needed}: use another key.")


may_predict = RequireRole(Role.PREDICT, Role.PATHOLOGIST)
may_read_all = RequireRole(Role.READ, Role.REVIEW)

MayPredict = Annotated[Caller, Depends(may_predict)]
MayRead = Annotated[Caller, Depends(RequireRole(Role.PREDICT, Role.PATHOLOGIST, Role.READ, Role.REVIEW))]
MayExport = Annotated[Caller, Depends(RequireRole(Role.PATHOLOGIST, Role.READ, Role.REVIEW))]
MayReadAll = Annotated[Caller, Depends(may_read_all)]
MayReview = Annotated[Caller, Depends(RequireRole(Role.PATHOLOGIST, Role.REVIEW))]
MayMeasure = Annotated[Caller, Depends(RequireRole(Role.METRICS))]
MayAdminister = Annotated[Caller, Depends(RequireRole())]
