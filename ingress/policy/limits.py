"""How much of everything is enough (RFC 5321, 4.5.3)."""

from typing import Annotated

from pydantic import Field

from jetpost.config.section import Section


class Limits(Section):
    """What one client, and all of them together, may ask for. Beside each limit, what a client hears beyond it."""

    message_bytes: Annotated[int, Field(ge=65_536)] = 64 * 1024 * 1024
    """Largest content, announced with SIZE (552 5.3.4)."""
    recipients: Annotated[int, Field(ge=100, le=1000)] = 1000
    """Recipients of a message (452 4.5.3: the client sends the rest in another transaction). RFC 5321, 4.5.3.1.8 asks
    for 100 at least; more than 1000 destinations do not fit into one commit."""
    hops: Annotated[int, Field(ge=30)] = 100
    """`Received` fields of a message; more than that is a loop (554 5.4.6; RFC 5321, 6.3)."""
    command_line_bytes: Annotated[int, Field(ge=512, le=12_288)] = 2048
    """Longest command line, CRLF included (500 5.5.2). AUTH has the 12 288 bytes of RFC 4954."""
    text_line_bytes: Annotated[int, Field(ge=1000)] = 8000
    """Longest line of a content, CRLF included (550 5.6.0). RFC 5322 allows 1 000; real mail is not so strict."""
    connections: Annotated[int, Field(ge=1)] = 1000
    """Open connections of one process, counted from accept on (421 4.3.2). Before a TLS handshake or the header of a
    load balancer nothing can be said: the connection is closed."""
    connections_per_client: Annotated[int, Field(ge=1)] = 50
    """Open connections of one process from one IP address (421 4.7.0, or closed, as above). A load balancer that names
    its clients is none itself."""
    memory_bytes: Annotated[int, Field(ge=16 * 1024 * 1024)] = 128 * 1024 * 1024
    """Bytes that all sessions of one process may hold in memory together. Commands without a reply, unread replies,
    envelopes, contents up to `queue.inline_bytes` and chunks in flight count. Beyond it, sessions that hold more than
    half of an equal share (`memory_bytes / connections`) end, those first that have been silent longest (421 4.3.2).
    The default fits a process with 512 MiB: the rest is for Python, TLS, and two passwords being checked."""
    command_errors: Annotated[int, Field(ge=1)] = 20
    """Refused commands in one session (421 4.7.0)."""
    commands_without_message: Annotated[int, Field(ge=20)] = 100
    """Commands of one session since its last accepted message (421 4.7.0). EHLO, MAIL, RSET, NOOP, VRFY, HELP, AUTH and
    refused commands count. Recipients count when more than `recipients` of them were refused."""
    auth_failures: Annotated[int, Field(ge=1)] = 5
    """Failed AUTH exchanges in one session (421 4.7.0)."""
    idle_s: Annotated[float, Field(gt=0)] = 300
    """How long a session may say nothing (421 4.4.2; RFC 5321, 4.5.3.2.7 asks for 5 minutes)."""
    session_s: Annotated[float, Field(gt=0)] = 3600
    """How long a session may last in all (421 4.4.2)."""
    handshake_s: Annotated[float, Field(gt=0)] = 30
    """How long a TLS handshake may take, and the header of a load balancer. Then the connection is closed without a
    reply, because none is possible."""
