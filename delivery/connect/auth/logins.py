"""Authentication to hosts (RFC 4954): passwords from their files, and which credentials a host has refused."""

import asyncio
from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from pathlib import Path

from prometheus_client import Counter, Gauge

from delivery.classify.phases import ConnectionBroke, Phase
from delivery.connect.auth.mechanisms import MECHANISMS, WITH_PASSWORDS, Secret, chosen
from delivery.connect.connection import Connection
from delivery.connect.opening import Refusal
from delivery.route.endpoint import Login
from jetpost.mail.reply import Reply
from jetpost.reason import reason_of
from jetpost.telemetry.log import logger
from jetpost.watched import Stamp, stamp

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
_MOST_PASSWORD = 64 * 1024

log = logger(__name__)


class _Known:
    """A password as it was read."""

    def __init__(self, read: Stamp | None, password: str) -> None:
        self.stamp = read
        self.password = password


class Stopped:
    """Credentials that a host refused."""

    def __init__(self, answer: Reply, read: Stamp | None, until: float) -> None:
        self.answer = answer
        self.stamp = read
        self.until = until


class Logins:
    """The credentials of a process. `pause_s`: how long refused ones are not tried again, unless their file changes."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._known: dict[str, _Known] = {}
        self._stopped: dict[Login, Stopped] = {}
        self._accepted: set[Login] = set()
        """Those that a host has accepted, and none refused since."""
        self._first: dict[Login, asyncio.Lock] = {}

    def insist(self, login: Login) -> Stopped | None:
        """Refusal, without asking anybody, while `login` is known to be refused. After the pause one is let through.

        What is returned is what was known of `login`, for `authenticate`.
        """
        stopped = self._stopped.get(login)
        if stopped is None:
            return None
        now = asyncio.get_running_loop().time()
        if now < stopped.until and stamp(Path(login.password_file)) == stopped.stamp:
            raise Refusal(Phase.AUTH, stopped.answer)
        stopped.until, stopped.stamp = now + self._pause_s, stamp(Path(login.password_file))
        return stopped

    async def authenticate(
        self, connection: Connection, login: Login, timeout_s: float, *, known: Stopped | None
    ) -> None:
        """AUTH on a connection whose host has said its extensions. Refusal when that fails.

        Until credentials were accepted once, one connection at a time tries them: many failures lock an account.
        `known` is what `insist` returned before the connection was made: what a host refused since is not tried again.
        """
        if login in self._accepted:
            await self._authenticate(connection, login, timeout_s)
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
            await self._authenticate(connection, login, timeout_s)
        finally:
            first.release()

    async def _authenticate(self, connection: Connection, login: Login, timeout_s: float) -> None:
        read, password = self._read(login)
        name = chosen(connection.extensions.get("AUTH", ""), login.mechanisms)
        if not (connection.is_secure or login.without_tls):
            raise self._failed(login, "credentials are not sent without TLS")
        if name is None:
            wanted = ", ".join(login.mechanisms or WITH_PASSWORDS)
            raise self._failed(login, f"offers none of the authentication mechanisms {wanted}")
        answer = await _exchange(connection, name, Secret(login.user, password), timeout_s)
        if isinstance(answer, ConnectionBroke) or not (answer.is_completion or answer.is_permanent):
            self._may_try_again(login)
            LOGINS.labels(login.name, "failed").inc()
            raise Refusal(Phase.AUTH, answer)
        if answer.is_permanent:
            self._stop(login, answer, read, connection.name)
            raise Refusal(Phase.AUTH, answer)
        LOGINS.labels(login.name, "accepted").inc()
        self._accepted.add(login)
        if self._stopped.pop(login, None) is not None:
            log.info("credentials accepted again", credentials=login.name, host=connection.name)
        REFUSED.labels(login.name).set(0)

    def _read(self, login: Login) -> tuple[Stamp | None, str]:
        """The password and what its file looks like; the previous one while the file cannot be read."""
        file = Path(login.password_file)
        now, known = stamp(file), self._known.get(login.password_file)
        if known is not None and known.stamp == now:
            return now, known.password
        try:
            with file.open("rb") as opened:
                password = _usable(opened.read(_MOST_PASSWORD).decode())
        except (OSError, ValueError) as error:
            why = f"cannot read password file {file}: {reason_of(error)}"
            log.warning("cannot read password file", credentials=login.name, error=why, limited_by=(why,))
            if known is None:
                raise self._failed(login, why) from error
            return known.stamp, known.password
        self._known[login.password_file] = _Known(now, password)
        return now, password

    def _failed(self, login: Login, why: str) -> Refusal:
        self._may_try_again(login)
        LOGINS.labels(login.name, "failed").inc()
        return Refusal(Phase.AUTH, ConnectionBroke(why))

    def _may_try_again(self, login: Login) -> None:
        """Nobody has said anything about the credentials: the next connection tries them."""
        if login in self._stopped:
            self._stopped[login].until = 0.0

    def _stop(self, login: Login, answer: Reply, read: Stamp | None, host: str) -> None:
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


def _usable(text: str) -> str:
    """The password in a file's `text`; ValueError when there is none that a host could be told."""
    password = text.rstrip("\r\n")
    if not password or "\0" in password:
        raise ValueError("it has a NUL character" if password else "it is empty")
    return password


async def _exchange(connection: Connection, name: str, secret: Secret, timeout_s: float) -> Reply | ConnectionBroke:
    """The dialogue of one mechanism; what the host said at its end."""
    exchange = MECHANISMS[name](secret)
    first = next(exchange)
    line = f"AUTH {name}" if first is None else f"AUTH {name} {b64encode(first).decode() or '='}"
    answer = await connection.command(line, timeout_s)
    while isinstance(answer, Reply) and answer.code == 334:
        try:
            response = exchange.send(_decoded("".join(answer.text)))
        except StopIteration:
            cancelled = await connection.command("*", timeout_s)
            return cancelled if isinstance(cancelled, ConnectionBroke) else ConnectionBroke("asked for more than known")
        assert response is not None
        answer = await connection.command(b64encode(response).decode(), timeout_s)
    if isinstance(answer, Reply) and answer.is_positive and not answer.is_completion:
        return ConnectionBroke(f"said {answer.code} to AUTH")
    return answer


def _decoded(challenge: str) -> bytes:
    """What a host's base64 stands for; some write `Username:` as it is, which LOGIN does not look at."""
    try:
        return b64decode(challenge)
    except NoBase64:
        return challenge.encode()
