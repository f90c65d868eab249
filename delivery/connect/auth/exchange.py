"""The dialogue of one SASL mechanism over SMTP (RFC 4954, 4)."""

from base64 import b64decode, b64encode

from msgspec import structs

from delivery.classify.phases import ConnectionBroke
from delivery.connect.auth.mechanisms import MECHANISMS, Secret
from delivery.connect.auth.redact import without
from delivery.connect.connection import Connection
from jetpost.mail.reply import Reply

_LONGEST_LINE = 510
"""Of a command, without its line end (RFC 5321, 4.5.3.1.4)."""


async def exchanged(connection: Connection, name: str, secret: Secret, timeout_s: float) -> Reply | ConnectionBroke:
    """The dialogue of the mechanism called `name`; what the host said at its end.

    A response that makes AUTH longer than a command may be waits for the host's first challenge (RFC 4954, 4): access
    tokens are long.
    """
    exchange = MECHANISMS[name](secret)
    first = next(exchange)
    line, waiting, sent = f"AUTH {name}", None, [secret.password]
    if first is not None:
        sent.append(b64encode(first).decode())
        initial = f"{line} {sent[-1] or '='}"
        line, waiting = (initial, None) if len(initial) <= _LONGEST_LINE else (line, first)
    answer = await connection.command(line, timeout_s)
    while isinstance(answer, Reply) and answer.code == 334:
        try:
            response = waiting if waiting is not None else exchange.send(_decoded("".join(answer.text)))
            waiting = None
        except StopIteration:
            cancelled = await connection.command("*", timeout_s)
            return cancelled if isinstance(cancelled, ConnectionBroke) else ConnectionBroke("asked for more than known")
        assert response is not None
        sent.append(b64encode(response).decode())
        answer = await connection.command(sent[-1], timeout_s)
    if isinstance(answer, ConnectionBroke):
        return answer
    if answer.is_positive and not answer.is_completion:
        return ConnectionBroke(f"said {answer.code} to AUTH")
    # It goes to logs and DSNs, and a host may quote what it was sent.
    return structs.replace(answer, text=tuple(without(line, sent) for line in answer.text))


def _decoded(challenge: str) -> bytes:
    """What a host's base64 stands for; some write `Username:` as it is, which LOGIN does not look at."""
    try:
        return b64decode(challenge)
    except ValueError:  # binascii.Error is one; characters beyond ASCII raise another
        return challenge.encode()
