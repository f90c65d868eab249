"""An issuer of other people (oidc-provider from npm, certified for OpenID) takes our requests and verifies our JWTs."""

import asyncio
import json
import os
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from delivery.connect.auth.oauth.tokens import NoToken, Tokens
from delivery.route.endpoint import Grant, TokenSource
from jetpost.http_client import post_form
from tests.end_to_end.conftest import needs
from tests.fixtures.dkim import rsa_pem

SECRET = "a secret: with/odd+characters & 50 %"
PATIENCE_S = 60


@pytest.fixture(scope="session")
def oidc_provider() -> Path:
    """The folder in which it is installed."""
    needs("node")
    folder = os.environ.get("OIDC_PROVIDER")
    if folder is None:
        pytest.skip(
            "needs oidc-provider in the folder $OIDC_PROVIDER; tests/end_to_end/oidc_provider/build installs it"
        )
    return Path(folder)


@contextmanager
def issuing(folder: Path, clients: Sequence[dict[str, Any]], refresh_of: str = "") -> Iterator[dict[str, Any]]:
    """A running issuer: its port, and a refresh token of the client `refresh_of`."""
    given = json.dumps({"clients": list(clients), "refreshOf": refresh_of})
    command = [needs("node"), str(folder / "issuer.js"), given]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603 — our own words
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        assert process.stdout is not None
        process.stdout.close()
        process.wait(PATIENCE_S)


def client(name: str, grant: str = "client_credentials", **more: Any) -> dict[str, Any]:
    usual = {"client_id": name, "grant_types": [grant], "redirect_uris": [], "response_types": [], "scope": "mail"}
    return {**usual, **more}


async def token(source: TokenSource, tokens: Tokens | None = None) -> str:
    until = asyncio.get_running_loop().time() + PATIENCE_S
    return (await (tokens or Tokens(PATIENCE_S, 300)).token(source, "upstream", until)).text


async def is_active(port: int, text: str, name: str, secret: str) -> bool:
    """What the issuer says of a token (RFC 7662)."""
    basic = b64encode(f"{name}:{secret}".encode()).decode()
    url = f"http://127.0.0.1:{port}/token/introspection"
    headers = {"Authorization": f"Basic {basic}"}
    said = await post_form(url, {"token": text}, headers=headers, most_bytes=10_000)
    return bool(json.loads(said.body)["active"])


def source_at(port: int, **changes: Any) -> TokenSource:
    usual = TokenSource(Grant.CLIENT_CREDENTIALS, f"http://127.0.0.1:{port}/token", "", scope="mail")
    return usual._replace(**changes)


async def test_a_client_secret_is_taken_in_both_places(oidc_provider: Path, tmp_path: Path) -> None:
    (file := tmp_path / "secret").write_text(f"{SECRET}\n")
    (wrong := tmp_path / "wrong").write_text("wrong\n")
    clients = [
        client("in header", client_secret=SECRET, token_endpoint_auth_method="client_secret_basic"),
        client("in-body", client_secret=SECRET, token_endpoint_auth_method="client_secret_post"),
        client("checks", client_secret="plain"),
    ]
    with issuing(oidc_provider, clients) as said:
        port = said["port"]
        for name, in_body in (("in header", False), ("in-body", True)):
            source = source_at(port, client_id=name, client_secret_file=str(file), secret_in_body=in_body)
            text = await token(source)
            assert await is_active(port, text, "checks", "plain")
            with pytest.raises(NoToken, match="refuses the credentials: replied 401 invalid_client") as told:
                await token(source._replace(client_secret_file=str(wrong)))
            assert told.value.refused


def jwk(key: Any, algorithm: str) -> dict[str, str]:
    """The public part, as RFC 7518, 6 has it, made by hand."""

    def number(value: int, size: int = 0) -> str:
        return urlsafe_b64encode(value.to_bytes(size or (value.bit_length() + 7) // 8)).rstrip(b"=").decode()

    public = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "n": number(public.n), "e": number(public.e), "alg": algorithm}
    size = (key.key_size + 7) // 8
    curve = {32: "P-256", 48: "P-384"}[size]
    return {"kty": "EC", "crv": curve, "x": number(public.x, size), "y": number(public.y, size), "alg": algorithm}


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "ES384"])
async def test_a_client_assertion_is_verified(oidc_provider: Path, tmp_path: Path, algorithm: str) -> None:
    curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}.get(algorithm)
    key: Any = ec.generate_private_key(curve) if curve else load_pem_private_key(rsa_pem(), None)
    other: Any = ec.generate_private_key(curve) if curve else load_pem_private_key(rsa_pem(1), None)
    for name, private in (("key.pem", key), ("other.pem", other)):
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / name).write_bytes(pem)
    with_keys = client(
        "app",
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg=algorithm,
        jwks={"keys": [jwk(key, algorithm)]},
    )
    with issuing(oidc_provider, [with_keys, client("checks", client_secret="plain")]) as said:
        source = source_at(said["port"], client_id="app", key_file=str(tmp_path / "key.pem"), algorithm=algorithm)
        assert await is_active(said["port"], await token(source), "checks", "plain")
        with pytest.raises(NoToken, match="refuses the credentials: replied 401 invalid_client"):
            await token(source._replace(key_file=str(tmp_path / "other.pem")))


async def test_a_refresh_token_that_is_rotated_is_followed(oidc_provider: Path, tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text(SECRET)
    web = client(
        "web",
        client_secret=SECRET,
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=["https://web.test/"],
        response_types=["code"],
        scope="openid offline_access mail",
    )
    with issuing(oidc_provider, [web, client("checks", client_secret="plain")], "web") as said:
        (refresh := tmp_path / "refresh").write_text(said["refresh"])
        source = source_at(
            said["port"],
            grant=Grant.REFRESH,
            client_id="web",
            client_secret_file=str(secret),
            refresh_token_file=str(refresh),
        )
        tokens = Tokens(PATIENCE_S, 300)
        until = asyncio.get_running_loop().time() + PATIENCE_S
        before = await tokens.token(source, "upstream", until)
        for _ in range(3):
            after = await tokens.token(source, "upstream", until, unlike=before)
            assert after.text != before.text
            before = after
        assert await is_active(said["port"], before.text, "checks", "plain")
        # Another process has the file only, and this issuer takes each refresh token once.
        with pytest.raises(NoToken, match="refuses the credentials: replied 400 invalid_grant"):
            await token(source)
