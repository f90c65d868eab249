"""A route whose credentials are access tokens: mail is delivered, or deferred with the reason; no secret is logged."""

import json
from pathlib import Path
from typing import Any

from tests.conftest import MakeSystem
from tests.fixtures.certificates import Certificates
from tests.fixtures.eventually import eventually_asked
from tests.fixtures.issuer import TokenIssuer
from tests.fixtures.letters import LETTER
from tests.fixtures.mx import Mx
from tests.fixtures.mx_script import Script
from tests.fixtures.system import System

SECRET = "s3cr:t-of/the+client"


def routes(issuer: TokenIssuer, smart: Mx, ca_file: Path, secret: Path) -> dict[str, Any]:
    """Two routes with the same credentials."""
    oauth = {
        "kind": "client_credentials",
        "token_url": issuer.url,
        "client_id": "app",
        "client_secret_file": str(secret),
        "ca_file": str(ca_file),
    }
    action = {
        "kind": "hosts",
        "hosts": [{"host": smart.address, "port": smart.port}],
        "ca_file": str(ca_file),
        "auth": {"user": "jet", "oauth": oauth, "name": "upstream"},
    }
    one = {"name": "one", "match": {"recipients": ["one.test"]}, "action": action}
    return {
        "delivery.routes": [one, {"name": "two", "action": action}],
        "delivery.attempt": {"auth_retry_s": 0.5, "timeouts": {"token_s": 5}},
    }


async def deferred(system: System, recipient: str) -> str:
    async def why() -> str | None:
        lines = (line for service in system.delivery for line in service.log_lines())
        return next((it["why"] for it in lines if it["event"] == "deferred" and it.get("recipient") == recipient), None)

    return await eventually_asked(why, f"{recipient} is deferred")


async def test_mail_takes_the_route_once_the_issuer_gives_a_token(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    (secret := tmp_path / "secret").write_text("a wrong secret\n")
    issuer = TokenIssuer(certificates.server(), {"app": SECRET}, tokens={"jet": ""}, address="127.0.0.1")
    await issuer.start()
    script = Script(users=issuer.tokens, mechanisms=("OAUTHBEARER",), tls=certificates.server())
    async with Mx("smart.test", "127.0.0.1", script=script) as smart:
        given = routes(issuer, smart, certificates.ca_file, secret)
        given["delivery.attempt"]["auth_retry_s"] = 300  # nobody asks a second time before the file changes
        system = await make_system(given)
        await system.submit("ann@home.test", ["bob@one.test"], LETTER)
        (service,) = system.delivery

        why = await deferred(system, "bob@one.test")
        assert f"the token issuer {issuer.host} refuses the credentials: replied 401 invalid_client" in why
        assert await service.metric("jetpost_delivery_credentials_refused", credentials="upstream") == 1
        _, shown = await system.command("queue", "list", "--json")
        assert "refuses the credentials" in shown
        assert SECRET not in shown

        secret.write_text(f"{SECRET}\n")
        await smart.received("bob@one.test")
        assert await service.metric("jetpost_delivery_credentials_refused", credentials="upstream") == 0
        await system.submit("ann@home.test", ["bob@two.test"], LETTER)
        assert (await smart.received("bob@two.test")).identity == "jet"
        await system.empty()
        assert len(issuer.issued) == 1
        logs = "".join(json.dumps(line) for line in service.log_lines())
        for hidden in (SECRET, *issuer.issued, "a wrong secret"):
            assert hidden not in logs
    await issuer.stop()


async def test_mail_waits_while_the_issuer_is_away(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    (secret := tmp_path / "secret").write_text(f"{SECRET}\n")
    issuer = TokenIssuer(certificates.server(), {"app": SECRET}, tokens={"jet": ""}, address="127.0.0.1")
    await issuer.start()
    await issuer.stop()
    script = Script(users=issuer.tokens, mechanisms=("XOAUTH2",), tls=certificates.server())
    async with Mx("smart.test", "127.0.0.1", script=script) as smart:
        system = await make_system(routes(issuer, smart, certificates.ca_file, secret))
        await system.submit("ann@home.test", ["bob@one.test"], LETTER)
        (service,) = system.delivery

        why = await deferred(system, "bob@one.test")
        assert f"the token issuer {issuer.host} cannot be reached: Connection refused" in why
        failing = {"credentials": "upstream", "issuer": issuer.host}
        assert await service.metric("jetpost_delivery_token_request_failing", **failing) == 1
        assert smart.connections == 0

        await issuer.start()
        await smart.received("bob@one.test")
        await system.empty()
        assert await service.metric("jetpost_delivery_token_request_failing", **failing) == 0
    await issuer.stop()


def findings(printed: str) -> list[dict[str, Any]]:
    """Those of the JSON on standard output; standard error is in `printed` as well, a line each."""
    found: list[dict[str, Any]] = json.loads(printed[printed.index("{\n") :])["findings"]
    return found


async def test_the_doctor_logs_in_with_a_token_or_says_why_not(
    make_system: MakeSystem, certificates: Certificates, tmp_path: Path
) -> None:
    (secret := tmp_path / "secret").write_text(f"{SECRET}\n")
    issuer = TokenIssuer(certificates.server(), {"app": SECRET}, tokens={"jet": ""}, address="127.0.0.1")
    script = Script(users=issuer.tokens, mechanisms=("XOAUTH2",), tls=certificates.server())
    async with issuer, Mx("smart.test", "127.0.0.1", script=script) as smart:
        given = routes(issuer, smart, certificates.ca_file, secret)
        given["delivery.routes"] = given["delivery.routes"][:1]
        system = await make_system(given)

        _, printed = await system.command("doctor", "--section", "delivery", "--json")
        (finding,) = [it for it in findings(printed) if it["id"] == "upstream"]
        assert (finding["severity"], "authenticated as jet" in finding["found"]) == ("ok", True), finding
        assert issuer.issued[0] not in printed

        secret.write_text("a wrong secret\n")
        _, printed = await system.command("doctor", "--section", "delivery", "--json")
        (finding,) = [it for it in findings(printed) if it["id"] == "upstream"]
        assert finding["severity"] == "error"
        assert f"the token issuer {issuer.host} refuses the credentials: replied 401" in finding["found"]
        assert "a wrong secret" not in printed
