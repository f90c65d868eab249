"""Access tokens of a process: one for each source, renewed ahead of its end by one request for all that use it."""

import asyncio
import math
import os
import random
import ssl
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from delivery.connect.auth.oauth.answer import Failed, Granted, Refused, understood
from delivery.connect.auth.oauth.files import prepared
from delivery.connect.auth.oauth.life import AccessToken, issued, pause_s
from delivery.route.endpoint import TokenSource
from delivery.security.contexts import context_for
from jetpost.client_tls import why_tls_failed
from jetpost.http_client import post_form
from jetpost.reason import reason_of
from jetpost.tasks import end
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, Stamps, stamps_of

TOKENS = Counter(
    "jetpost_delivery_tokens_total",
    "Requests for an access token. Labels: `issuer` is the host of the token endpoint; `answer` is granted, refused "
    "(the credentials) or failed (no answer, or none of use).",
    ["issuer", "answer"],
)
FAILING = Gauge(
    "jetpost_delivery_token_request_failing",
    "1 while the last request for an access token got none, else 0. Labels: `credentials` is their name; `issuer` is "
    "the host of the token endpoint.",
    ["credentials", "issuer"],
)
if TYPE_CHECKING:
    from delivery.connect.auth.oauth.request import Request

_MOST_ANSWER_BYTES = 256 * 1024
_REPLACED_S = 60.0

log = logger(__name__)


class NoToken(Exception):  # noqa: N818 — an answer, for those who ask for a token
    """There is no access token now; its text says why. `refused`: the issuer does not accept the credentials."""

    def __init__(self, why: str, *, refused: bool) -> None:
        super().__init__(why)
        self.refused = refused


class Tokens:
    """The access tokens of a process.

    `timeout_s`: how long the issuer may take to answer. `pause_s`: how long it is not asked again after it refused, and
    at most after it failed.
    """

    def __init__(self, timeout_s: float, pause_s: float) -> None:
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._keepers: dict[TokenSource, _Keeper] = {}

    async def token(
        self, source: TokenSource, name: str, until: float, *, unlike: AccessToken | None = None
    ) -> AccessToken:
        """A token that lives, for the credentials called `name`; NoToken when there is none.

        It waits for nothing longer than `until`, on the loop's clock. `unlike` is what a host has refused.
        """
        if (keeper := self._keepers.get(source)) is None:
            keeper = self._keepers[source] = _Keeper(source, self._timeout_s, self._pause_s)
        keeper.called(name)
        return await keeper.token(until, unlike)

    def may_replace(self, source: TokenSource, token: AccessToken) -> bool:
        """Whether another token may be had now in place of `token`, which a host has refused."""
        return self._keepers[source].may_replace(token)

    async def aclose(self) -> None:
        """Give up the requests that are on their way."""
        for keeper in self._keepers.values():
            await keeper.aclose()


class _Keeper:
    """The token of one source."""

    def __init__(self, source: TokenSource, timeout_s: float, pause_s: float) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._pause_s = pause_s
        self._names: set[str] = set()
        self._token: AccessToken | None = None
        self._stamps: Stamps | None = None
        """Of the files at the last request; None: none was made."""
        self._rotated: tuple[Stamp | None, bytes] | None = None
        """The refresh token that the issuer gave last, and the stamp of the file that it came in place of."""
        self._asking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._used = False
        """Whether anybody asked for the token since it was issued."""
        self._replaced = 0, -math.inf
        """The last token that was replaced because a host refused it, by its number, and when."""
        self._issued = 0
        self._failures = 0
        self._failure: Refused | Failed | None = None
        """Of the last request; None: it succeeded."""
        self._not_before = 0.0

    def called(self, name: str) -> None:
        """The credentials of this name use it."""
        if name not in self._names:
            self._names.add(name)
            FAILING.labels(name, self._source.host).set(self._failure is not None)

    async def token(self, until: float, unlike: AccessToken | None) -> AccessToken:
        """One that lives, and is not `unlike`; a request goes out when it is time."""
        self._used = True
        now = asyncio.get_running_loop().time()
        if self._token is not None and now >= self._token.ends:
            self._token = None
        if self._is_due(now, unlike):
            self._ask()
        if self._asking is not None and (self._token is None or self._token == unlike):
            await asyncio.wait([self._asking], timeout=max(until - now, 0))
        if self._token is None or self._token == unlike:
            raise self._refusal()
        return self._token

    def may_replace(self, token: AccessToken) -> bool:
        """Whether `token` is replaced already, or was not lately. A host that refuses all is none to ask."""
        now = asyncio.get_running_loop().time()
        number, when = self._replaced
        if self._token != token or token.number == number:
            return True
        if now < when + _REPLACED_S:
            return False
        self._replaced = token.number, now
        return True

    async def aclose(self) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            await end([self._asking])

    def _is_due(self, now: float, unlike: AccessToken | None) -> bool:
        """Whether the issuer is to be asked now."""
        if self._asking is not None:
            return False
        if self._stamps is not None and stamps_of(self._source.files) != self._stamps:
            return True
        if now < self._not_before:
            return False
        return self._token is None or self._token == unlike or now >= self._token.renewed_from

    def _refusal(self) -> NoToken:
        host = self._source.host
        if self._asking is not None:
            return NoToken(f"the token issuer {host} has not answered yet", refused=False)
        match self._failure:
            case Refused(why=why):
                return NoToken(f"the token issuer {host} refuses the credentials: {why}", refused=True)
            case Failed(why=why):
                return NoToken(f"the token issuer {host} {why}", refused=False)
            case _:
                return NoToken(f"the token issuer {host} gave no other token", refused=False)

    def _ask(self, *, by_itself: bool = False) -> None:
        self._asking = asyncio.create_task(self._renew(by_itself=by_itself), name="access token")

    async def _renew(self, *, by_itself: bool) -> None:
        self._stamps = stamps_of(self._source.files)
        try:
            answer = await self._answer(self._stamps)
        except Exception as error:  # a bug must not leave the credentials without a reason
            log.exception("token request failed with an exception", issuer=self._source.host)
            answer = Failed(f"cannot be asked: {type(error).__name__}")
        finally:
            self._asking = None
        now = asyncio.get_running_loop().time()
        if isinstance(answer, Granted):
            self._used = self._used and not by_itself
            self._granted(answer, now)
        else:
            self._failed(answer, now)

    async def _answer(self, stamps: Stamps) -> Granted | Refused | Failed:
        source = self._source
        rotated = dict(zip(source.files, stamps, strict=True)).get(source.refresh_token_file)
        kept = self._rotated[1] if self._rotated is not None and self._rotated[0] == rotated else None
        try:
            async with asyncio.timeout(self._timeout_s):
                asked, tls = await asyncio.to_thread(_asked, source, kept)
        except TimeoutError:
            return Failed(f"is not asked: files cannot be read within {self._timeout_s:.3g} s")
        except (OSError, ValueError) as error:
            return Failed(f"is not asked: {reason_of(error)}")
        try:
            async with asyncio.timeout(self._timeout_s):
                said = await post_form(
                    source.token_url, asked.form, headers=asked.headers, tls=tls, most_bytes=_MOST_ANSWER_BYTES
                )
        except TimeoutError:
            return Failed(f"cannot be reached: no answer within {self._timeout_s:.3g} s")
        except OSError as error:
            return Failed(f"cannot be reached: {_said(error)}")
        except ValueError as error:
            return Failed(f"gives no answer of use: {reason_of(error)}")
        answer = understood(said.status, said.body, asked.secrets)
        if isinstance(answer, Failed):
            answer = answer._replace(retry_after_s=said.retry_after_s)
        if isinstance(answer, Granted) and answer.refresh_token and source.refresh_token_file:
            self._rotated = rotated, answer.refresh_token.encode()
        return answer

    def _granted(self, answer: Granted, now: float) -> None:
        TOKENS.labels(self._source.host, "granted").inc()
        if self._failure is not None:
            log.info("access token issued again", issuer=self._source.host)
        self._failures, self._failure, self._not_before = 0, None, now
        self._issued += 1
        self._token = issued(answer.token, answer.life_s, self._issued, now, random.random())  # noqa: S311 — spreads
        self._show()
        self._wake_at(self._token.renewed_from)

    def _failed(self, answer: Refused | Failed, now: float) -> None:
        refused = isinstance(answer, Refused)
        self._failures += 1
        self._failure = answer
        draw = random.random()  # noqa: S311 — spreads requests
        least_s = answer.retry_after_s if isinstance(answer, Failed) else 0
        self._not_before = now + pause_s(self._failures, self._pause_s, draw, refused=refused, retry_after_s=least_s)
        TOKENS.labels(self._source.host, "refused" if refused else "failed").inc()
        self._show()
        log.warning(
            "no access token",
            issuer=self._source.host,
            credentials=sorted(self._names),
            why=answer.why,
            pause_s=round(self._not_before - now, 1),
            limited_by=(self._source.host, *sorted(self._names)),
        )
        if self._token is not None and self._not_before < self._token.ends:
            self._wake_at(self._not_before)

    def _show(self) -> None:
        for name in self._names:
            FAILING.labels(name, self._source.host).set(self._failure is not None)

    def _wake_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._wake)

    def _wake(self) -> None:
        """Renew ahead of the end, if anybody has used the token since it was issued."""
        if self._used and self._asking is None:
            self._ask(by_itself=True)


def _said(error: OSError) -> str:
    """The system's words, which asyncio replaces by its own."""
    if isinstance(error, ssl.SSLError):
        return why_tls_failed(error)
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or reason_of(error)


def _asked(source: TokenSource, refresh_token: bytes | None) -> tuple["Request", ssl.SSLContext | None]:
    """What to post, and what verifies the issuer. OSError, ValueError: a file is of no use."""
    return prepared(source, refresh_token), context_for(source.verified) if source.verified else None
