"""Signing in at the identity provider, from the button to the caller: bounded, throttled and counted."""

from __future__ import annotations

import hmac
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Self
from urllib.parse import urlencode

from anyio import CapacityLimiter, WouldBlock, to_thread
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.access.caller import Caller
from app.access.people import Identity, People, Refusal
from app.access.throttle import FailedTries
from app.oidc.attempt import Attempt, Seal
from app.oidc.settings import OidcClient
from app.problems import Busy, ProviderUnavailable, SignInRefused, TooManyTries
from model_zoo.extras import installing

if TYPE_CHECKING:
    from app.oidc.provider import Provider

AT_ONCE = 32
MAX_CODE = 4096
OPENED, UNAVAILABLE = "opened", "unavailable"

log = logging.getLogger("rosette.sign-in")


class SignIn:
    """Signs people in at one identity provider.

    Args:
        provider: the identity provider.
        people: who they are here.
        secret: gives this installation's secret.
        failed_tries: the rate limit of refused sign-ins.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        provider: Provider,
        people: People,
        secret: Callable[[], bytes],
        failed_tries: FailedTries,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._people = people
        self._secret = secret
        self._failed_tries = failed_tries
        self._clock = clock
        self._seal: Seal | None = None
        self._room = CapacityLimiter(AT_ONCE)
        self.counts: Counter[str] = Counter()

    @classmethod
    def of(
        cls, client: OidcClient | None, people: People, secret: Callable[[], bytes], failed_tries: FailedTries
    ) -> Self | None:
        """The sign-in that the settings describe; None if they describe none.

        Raises:
            ValueError: if the packages that it needs are not installed.
        """
        if client is None:
            return None
        try:
            from app.oidc.provider import Provider
        except ImportError as error:
            raise ValueError(
                f"ROSETTE_OIDC_ISSUER is set, but signing in there needs packages that are not installed ({error}): "
                f"{installing('oidc')}, or unset it"
            ) from error
        return cls(Provider(client), people, secret, failed_tries)

    async def begin(self, target: str, before: str, redirect_uri: str) -> tuple[str, str]:
        """Begin to sign in.

        Args:
            target: the page to go on to.
            before: the token of the browser's session, if it has one.
            redirect_uri: where the provider sends the browser back to.

        Returns:
            The provider's address for the browser, and the cookie that the browser must bring back.

        Raises:
            ProviderUnavailable: if the provider does not answer.
            Busy: if too many people sign in at once.
        """
        attempt = Attempt.begin(target, before)
        async with self._counted():
            address = await self._provider.address(attempt, redirect_uri)
        return address, (await self._the_seal()).sealed(attempt, self._clock())

    async def finish(
        self, cookie: str, sent: Mapping[str, str], redirect_uri: str, address: str
    ) -> tuple[Caller, Attempt]:
        """Who signed in, for what the browser brought back.

        Args:
            cookie: from :meth:`begin`; empty if the browser has none.
            sent: the parameters of the provider's response.
            redirect_uri: as given to :meth:`begin`.
            address: the client's.

        Raises:
            SignInRefused: if anything does not fit, or the person may not enter.
            TooManyTries: if too many sign-ins from this address were refused.
            ProviderUnavailable, Busy: as :meth:`begin`.
            RecordsUnavailable: if the database fails.
        """
        self._check_tries(address)
        async with self._counted():
            attempt = await self._attempt(cookie, sent)
            identity = await self._identity(attempt, sent, redirect_uri, address)
            caller = await self._entered(identity, address)
        self.counts[OPENED] += 1
        return caller, attempt

    async def end(self, back: str) -> str:
        """Where the provider's session ends before the browser comes back; empty if the provider has no such place."""
        try:
            async with self._counted():
                ends_at = (await self._provider.metadata()).ends_at
        except (ProviderUnavailable, Busy):
            return ""
        sent = urlencode({"client_id": self._provider.client.client_id, "post_logout_redirect_uri": back})
        return f"{ends_at}{'&' if '?' in ends_at else '?'}{sent}" if ends_at else ""

    async def _attempt(self, cookie: str, sent: Mapping[str, str]) -> Attempt:
        """The attempt that the response belongs to; others' pages can send what does not fit, so it is not counted."""
        attempt = (await self._the_seal()).opened(cookie, self._clock())
        if attempt is None:
            raise SignInRefused(
                Refusal.NO_ATTEMPT,
                "This browser did not begin this sign-in here, or more than ten minutes ago: sign in again.",
            )
        if not hmac.compare_digest(sent.get("state", "").encode(), attempt.state.encode()):
            raise SignInRefused(
                Refusal.WRONG_STATE,
                "The identity provider's answer belongs to another sign-in, such as one in another tab: sign in again.",
            )
        await self._check_issuer(sent)
        if "error" in sent or not 0 < len(sent.get("code", "")) <= MAX_CODE:
            raise SignInRefused(
                Refusal.PROVIDER_REFUSED,
                "The identity provider did not sign you in: you may have cancelled, or your account may not use this. "
                "Sign in again, or ask those who manage your account there.",
            )
        return attempt

    async def _identity(self, attempt: Attempt, sent: Mapping[str, str], redirect_uri: str, address: str) -> Identity:
        try:
            return await self._provider.person(attempt, sent["code"], redirect_uri)
        except SignInRefused:
            self._failed_tries.count(address)
            raise

    async def _entered(self, identity: Identity, address: str) -> Caller:
        """The caller; what one person is refused is limited, since each refusal is a row of the audit trail."""
        person = sha256(identity.subject.encode()).hexdigest()
        self._check_tries(person)
        try:
            return await to_thread.run_sync(self._people.enter, identity, address)
        except SignInRefused:
            self._failed_tries.count(person)
            raise

    def _check_tries(self, who: str) -> None:
        try:
            self._failed_tries.check(who)
        except TooManyTries as error:
            raise TooManyTries(
                "Too many sign-ins were refused: wait a minute, then sign in again.", int(error.headers["Retry-After"])
            ) from error

    async def _check_issuer(self, sent: Mapping[str, str]) -> None:
        """Compare the issuer of RFC 9207, which a provider that announces it must send."""
        issuer = self._provider.client.issuer
        required = (await self._provider.metadata()).names_itself
        if sent.get("iss", "" if required else issuer) != issuer:
            raise SignInRefused(
                Refusal.WRONG_ISSUER,
                "The answer comes from another identity provider than this server's, so nobody was signed in.",
            )

    async def _the_seal(self) -> Seal:
        if self._seal is None:
            self._seal = Seal(await to_thread.run_sync(self._secret))
        return self._seal

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        """Room for one who signs in; failures are counted and logged."""
        borrower = object()
        try:
            self._room.acquire_on_behalf_of_nowait(borrower)
        except WouldBlock as error:
            raise Busy("Too many people sign in at once: try again in a second.") from error
        try:
            yield
        except SignInRefused as problem:
            self.counts[problem.reason] += 1
            log.warning("a sign-in was refused: %s%s", problem.reason, _cause(problem))
            raise
        except ProviderUnavailable as problem:
            self.counts[UNAVAILABLE] += 1
            log.warning("the identity provider cannot be used: %s%s", problem.detail, _cause(problem))
            raise
        finally:
            self._room.release_on_behalf_of(borrower)


class SignInFigures(Collector):
    """How sign-ins at the identity provider ended, for Prometheus.

    Args:
        sign_in: what is counted; None if there is none.
    """

    def __init__(self, sign_in: SignIn | None) -> None:
        self._sign_in = sign_in

    def collect(self) -> Iterator[Metric]:
        if self._sign_in is None:
            return
        found = CounterMetricFamily(
            "rosette_sign_ins", "Sign-ins at the identity provider, by their end.", labels=["result"]
        )
        for result in (OPENED, UNAVAILABLE, *Refusal):
            found.add_metric([str(result)], self._sign_in.counts[result])
        yield found


def _cause(problem: Exception) -> str:
    """What a library said, for the administrator, in at most 200 characters."""
    return f" ({problem.__cause__!r:.200})" if problem.__cause__ else ""
