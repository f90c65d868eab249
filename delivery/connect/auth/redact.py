"""What others say, without the secrets that they were sent. Pure."""

from collections.abc import Collection
from urllib.parse import quote, quote_plus

_LEAST_SECRET = 4
"""A shorter text is in every sentence."""


def without(text: str, secrets: Collection[str]) -> str:
    """`text` with `secrets` replaced, as they are and as a URL has them."""
    for secret in secrets:
        if len(secret) >= _LEAST_SECRET:
            for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(form, "***")
    return text
