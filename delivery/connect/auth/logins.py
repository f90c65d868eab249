"""Authentication to hosts (RFC 4954): with passwords or access tokens, and which credentials a host has refused."""

import asyncio
from typing import NamedTuple

from prometheus_client import Counter, Gauge

from delivery.classify.phases import BAD_CREDENTIALS, ConnectionBroke, Phase
from delivery.connect.auth.exchange import exchanged
from delivery.connect.auth.mechanisms import Secret, chosen
from delivery.connect.auth.oauth.life import AccessToken
from delivery.connect.auth.oauth.tokens import NoToken, Tokens
from delivery.connect.auth.passwords import Passwords, Unreadable
from delivery.connect.connection import Connection
from delivery.connect.opening import Refusal
from delivery.route.endpoint import WITH_PASSWORDS, Login, TokenSource
from jetpost.mail.reply import Reply
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamps, stamps_of

LOGINS = Counter(
    "jetpost_delivery_auth_total",
    "Authentications to hosts. Labels: `credentials` is their name; `answer` is accepted, refused (the host does not "
    "accept the credentials) or failed (not now, or no answer).",
    ["credentials", "answer"],
)
REFUSED = Gauge(
    "jetpost_delivery_credentials_refused",
    "1 while mail waits because a host refused these credentials, else 0. Labels: `credentials` is their name.",
    ["credentials"],
)
_TOKENS_TRIED = 2

log = logger(__name__)


class Stopped:
    """Credentials that a host refused."""

    def __init__(self, answer: Reply, read: Stamps, until: float) -> None:
        self.answer = answer
        self.stamps = read
        self.until = until


class _Held(NamedTuple):
    """What credentials are now."""

    secret: Secret
    stamps: Stamps
    """Of the files, when the secret was read."""
    token: AccessToken | None = None


class Logins:
    """The credentials of a process.

    `pause_s`: how long refused ones are not tried again, unless their file changes. `token_s`: how long an issuer may
    take to answer.
    """

    def __init__(self, pause_s: float, token_s: float) -> None:
        self._pause_s = pause_s
        self._passwords = Passwords()
        self._tokens = Tokens(token_s, pause_s)
        self._rejected: dict[Login, AccessToken] = {}
        """Tokens that a host has refused, and none accepted since."""
        self._stopped: dict[Login, Stopped] = {}
        self._accepted: set[Login] = set()
        """Those that a host has accepted, and none refused since."""
        self._first: dict[Login, asyncio.Lock] = {}
        self._not_now: dict[tuple[Login, str], Reply] = {}
        """The last 4yz reply to AUTH of a host, by its name, until it accepts them."""

    def insist(self, login: Login) -> Stopped | None:
        """Refusal, without asking anybody, while `login` is known to be refused. After the pause one is let through.

        What is returned is what was known of `login`, for `authenticate`.
        """
        stopped = self._stopped.get(login)
        if stopped is None:
            return None
        now = asyncio.get_running_loop().time()
        if now < stopped.until and stamps_of(login.files) == stopped.stamps:
            raise Refusal(Phase.AUTH, stopped.answer)
        stopped.until, stopped.stamps = now + self._pause_s, stamps_of(login.files)
        return stopped

    def not_tried(self, known: Stopped | None) -> None:
        """A connection for which `insist` returned `known` ended before AUTH: the next one is let through."""
        if known is not None:
            known.until = 0.0

    async def prepare(self, login: Login, until: float) -> None:
        """Have an access token before a host is connected to, if `login` needs one. Refusal when there is none.

        It waits for nothing longer than `until`, on the loop's clock.
        """
        if login.tokens is not None:
            await self._token(login, login.tokens, until)

    async def aclose(self) -> None:
        """Give up what is on its way to token issuers."""
        await self._tokens.aclose()

    async def authenticate(
        self, connection: Connection, login: Login, timeout_s: float, *, known: Stopped | None
    ) -> None:
        """AUTH on a connection whose host has said its extensions. Refusal when that fails.

        Until credentials were accepted once, one connection at a time tries them: many failures lock an account.
        `known` is what `insist` returned before the connection was made: what a host refused since is not tried again.
        Nor is it where the host has said 4yz to another connection since this one waits for its turn.
        """
        at = login, connection.name
        not_now = self._not_now.get(at)
        if login in self._accepted and await self._authenticate(connection, login, timeout_s):
            return
        first = self._first.setdefault(login, asyncio.Lock())
        try:
            async with asyncio.timeout_at(connection.until):
                await first.acquire()
        except TimeoutError:
            raise Refusal(Phase.AUTH, ConnectionBroke("another connection's authentication took too long")) from None
        try:
            stopped = self._stopped.get(login)
            if stopped is not None and stopped is not known:
                raise Refusal(Phase.AUTH, stopped.answer)
            if (said := self._not_now.get(at)) is not None and said is not not_now:
                raise Refusal(Phase.AUTH, said)
            for _ in range(_TOKENS_TRIED):
                if await self._authenticate(connection, login, timeout_s):
                    return
            raise self._failed(login, "refuses access tokens that other connections were accepted with")
        finally:
            first.release()

    async def _authenticate(self, connection: Connection, login: Login, timeout_s: float) -> bool:
        """Whether the host accepts; False when it refuses an access token and another one may be tried."""
        held = await self._held(login, connection.until)
        name = chosen(connection.extensions.get("AUTH", ""), login.mechanisms)
        if not (connection.is_secure or login.without_tls):
            raise self._failed(login, "credentials are not sent without TLS")
        if name is None:
            wanted = ", ".join(login.mechanisms or WITH_PASSWORDS)
            raise self._failed(login, f"offers none of the authentication mechanisms {wanted}")
        answer = await exchanged(connection, name, held.secret, timeout_s)
        if isinstance(answer, ConnectionBroke) or not (answer.is_completion or answer.is_permanent):
            self._may_try_again(login)
            LOGINS.labels(login.name, "failed").inc()
            if isinstance(answer, Reply):
                self._not_now[login, connection.name] = answer
                self._accepted.discard(login)  # the next ones take turns, until one is accepted
            raise Refusal(Phase.AUTH, answer)
        if answer.is_permanent:
            if self._may_replace(login, held.token):
                log.info("access token refused, getting another", credentials=login.name, host=connection.name)
                return False
            self._stop(login, answer, held.stamps, connection.name)
            raise Refusal(Phase.AUTH, answer)
        LOGINS.labels(login.name, "accepted").inc()
        self._accepted.add(login)
        self._rejected.pop(login, None)
        self._not_now.pop((login, connection.name), None)
        if self._stopped.pop(login, None) is not None:
            log.info("credentials accepted again", credentials=login.name, host=connection.name)
        REFUSED.labels(login.name).set(0)
        return True

    def _may_replace(self, login: Login, token: AccessToken | None) -> bool:
        """Whether another access token may be tried, as a host has refused `token`: it may have been revoked.

        Only once: when the next one is refused as well, it is the credentials.
        """
        if login.tokens is None or token is None:
            return False
        before = self._rejected.get(login)
        self._accepted.discard(login)
        if before is not None and token.number <= before.number:  # of a connection that began to try it earlier
            return True
        self._rejected[login] = token
        return before is None and self._tokens.may_replace(login.tokens, token)

    async def _held(self, login: Login, until: float) -> _Held:
        """The credentials as they are now. Refusal when there are none."""
        if login.tokens is not None:
            read = stamps_of(login.files)
            token = await self._token(login, login.tokens, until)
            return _Held(Secret(login.user, token.text), read, token)
        try:
            stamped, password = self._passwords.read(login.password_file, login.name)
        except Unreadable as error:
            raise self._failed(login, reason_of(error)) from error
        return _Held(Secret(login.user, password), (stamped,))

    async def _token(self, login: Login, source: TokenSource, until: float) -> AccessToken:
        try:
            return await self._tokens.token(source, login.name, until, unlike=self._rejected.get(login))
        except NoToken as none:
            raise self._without_token(login, source, none) from none

    def _without_token(self, login: Login, source: TokenSource, none: NoToken) -> Refusal:
        self._may_try_again(login)
        if not none.refused:
            return Refusal(Phase.AUTH, ConnectionBroke(str(none)))
        REFUSED.labels(login.name).set(1)
        log.error(
            "credentials refused",
            credentials=login.name,
            user=login.user,
            issuer=source.host,
            why=str(none),
            limited_by=(login.name, source.host),
        )
        return Refusal(Phase.AUTH, ConnectionBroke(str(none), BAD_CREDENTIALS))

    def _failed(self, login: Login, why: str) -> Refusal:
        self._may_try_again(login)
        LOGINS.labels(login.name, "failed").inc()
        return Refusal(Phase.AUTH, ConnectionBroke(why))

    def _may_try_again(self, login: Login) -> None:
        """Nobody has said anything about the credentials: the next connection tries them."""
        if login in self._stopped:
            self._stopped[login].until = 0.0

    def _stop(self, login: Login, answer: Reply, read: Stamps, host: str) -> None:
        LOGINS.labels(login.name, "refused").inc()
        self._accepted.discard(login)
        REFUSED.labels(login.name).set(1)
        until = asyncio.get_running_loop().time() + self._pause_s
        self._stopped[login] = Stopped(answer, read, until)
        log.error(
            "credentials refused",
            credentials=login.name,
            user=login.user,
            host=host,
            why=str(answer),
            limited_by=(login.name, host),
        )
