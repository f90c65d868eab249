"""What SMTP said about a message, apart from the message itself."""

import msgspec


class Recipient(msgspec.Struct, frozen=True, omit_defaults=True):
    """One forward-path, with what the client asked of DSNs about it (RFC 5321, 4.1.1.3; RFC 3461, 4.1 and 4.2)."""

    address: str
    """`local-part@domain`, as the client wrote it: the local part's case is the recipient's business."""
    notify: tuple[str, ...] = ()
    """NEVER, or any of SUCCESS, FAILURE and DELAY. Empty: not given, so there is a DSN for a failure."""
    orcpt: str = ""
    """`addr-type;address` with the xtext decoded, or empty when not given."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who handed a message in, whence and how protected: the facts of its `Received` field (RFC 5321, 4.4)."""

    client_address: str
    """The peer's IP address."""
    client_name: str
    """What the client called itself in EHLO or HELO."""
    protocol: str
    """SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, or the UTF8SMTP family (RFC 3848; RFC 6531, 4.3)."""
    tls: str = ""
    """TLS version and cipher, `TLSv1.3 TLS_AES_256_GCM_SHA384`; empty on a plain connection."""
    identity: str = ""
    """The authenticated user; empty when nobody authenticated."""
    listener: str = ""
    """The configured name of the listener that took the message."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Reverse-path, recipients and parameters of one mail transaction (RFC 5321, 2.3.1)."""

    reverse_path: str
    """The sender's address; "" is the null reverse-path: never bounce it (RFC 5321, 4.5.5)."""
    recipients: tuple[Recipient, ...]
    origin: Origin
    body: str = ""
    """7BIT or 8BITMIME as declared (RFC 6152); empty when not declared."""
    smtputf8: bool = False
    """Whether the client gave SMTPUTF8 (RFC 6531, 3.4)."""
    envid: str = ""
    """The client's envelope id with the xtext decoded (RFC 3461, 4.4)."""
    ret: str = ""
    """FULL or HDRS: how much of the message a DSN returns (RFC 3461, 4.3); empty when not given."""
