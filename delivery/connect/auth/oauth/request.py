"""The request for an access token: what is sent to the token endpoint, from what files have. Pure."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from delivery.connect.auth.oauth.assertion import LIFE_S, SigningKey, signed, signing_key, thumbprints
from delivery.route.endpoint import Grant, TokenSource
from jetpost.reason import reason_of

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_CLIENT_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLIER_S = 10
"""An issuer whose clock is a little slow refuses what is signed in the future."""


class Request(NamedTuple):
    """What is posted."""

    form: Mapping[str, str]
    headers: Mapping[str, str]
    secrets: tuple[str, ...]
    """The parts that nobody may read."""

    def __repr__(self) -> str:
        return f"Request({', '.join(self.form)})"


class Unusable(ValueError):  # noqa: N818 — what it says is a reason
    """A file has nothing that can be used; its text names the file and says why."""


def request(source: TokenSource, contents: Mapping[str, bytes], *, now: float, jti: str) -> Request:
    """What to post for a token. `contents` are those of `source.files` by path; `now` is the time as Unix has it.

    Unusable: one of them is of no use.
    """
    form = {"scope": source.scope} if source.scope else {}
    if source.grant is Grant.JWT_BEARER:
        assertion = _assertion(source, contents, now, jti)
        form |= {"grant_type": _JWT_BEARER, "assertion": assertion}
        return _request(form, {}, assertion)
    form["grant_type"] = source.grant.value
    secrets: tuple[str, ...] = ()
    if source.refresh_token_file:
        token = _text(contents, source.refresh_token_file)
        form["refresh_token"], secrets = token, (token,)
    if source.key_file:
        assertion = _client_assertion(source, contents, now, jti)
        form |= {"client_id": source.client_id, "client_assertion_type": _CLIENT_JWT_BEARER}
        form["client_assertion"] = assertion
        return _request(form, {}, assertion, *secrets)
    if not source.client_secret_file:
        form["client_id"] = source.client_id
        return _request(form, {}, *secrets)
    secret = _text(contents, source.client_secret_file)
    if source.secret_in_body:
        form |= {"client_id": source.client_id, "client_secret": secret}
        return _request(form, {}, secret, *secrets)
    # RFC 6749, 2.3.1: both are encoded as in a form first, so that a colon separates them.
    basic = b64encode(f"{quote_plus(source.client_id)}:{quote_plus(secret)}".encode()).decode()
    return _request(form, {"Authorization": f"Basic {basic}"}, secret, basic, *secrets)


def _request(form: Mapping[str, str], headers: Mapping[str, str], *secrets: str) -> Request:
    return Request(form, {"Accept": "application/json", **headers}, secrets)


def _text(contents: Mapping[str, bytes], file: str) -> str:
    """The secret in a file: its text, without the line end."""
    try:
        text = contents[file].decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Unusable(f"cannot use {file}: it is no text") from None
    if not text or not text.isprintable():
        raise Unusable(f"cannot use {file}: {'it has control characters' if text else 'it is empty'}")
    return text


def _client_assertion(source: TokenSource, contents: Mapping[str, bytes], now: float, jti: str) -> str:
    """Who the client is (RFC 7523, 3): issuer and subject are the client."""
    claims = {"iss": source.client_id, "sub": source.client_id}
    return _signed(source, contents, {**claims, **_common(source, now, jti)})


def _assertion(source: TokenSource, contents: Mapping[str, bytes], now: float, jti: str) -> str:
    """For whom a token is asked (RFC 7523, 3). The scope is a claim for Google, and a parameter for others."""
    claims: dict[str, Any] = {"sub": source.subject, **({"scope": source.scope} if source.scope else {})}
    return _signed(source, contents, {**claims, **_common(source, now, jti)})


def _common(source: TokenSource, now: float, jti: str) -> dict[str, Any]:
    begins = int(now) - _EARLIER_S
    return {
        "aud": source.audience or source.token_url,
        "iat": begins,
        "nbf": begins,
        "exp": begins + LIFE_S,
        "jti": jti,
    }


def _issuer(source: TokenSource, claims: Mapping[str, Any], key: SigningKey) -> str:
    issuer = str(claims.get("iss", "")) or source.issuer or key.issuer
    if not issuer:
        raise ValueError("it does not say who issues assertions; set `client_id`")
    return issuer


def _signed(source: TokenSource, contents: Mapping[str, bytes], claims: dict[str, Any]) -> str:
    file = source.key_file
    try:
        key = signing_key(contents[file])
        key = key._replace(key_id=source.key_id or key.key_id)
        issuer = _issuer(source, claims, key)
        header: Mapping[str, str] = {}
        if source.certificate_file:
            file = source.certificate_file
            header = thumbprints(contents[file], key)
            file = source.key_file
        return signed(key, source.algorithm, header, {**claims, "iss": issuer})
    except ValueError as error:
        raise Unusable(f"cannot use {file}: {reason_of(error)}") from None
