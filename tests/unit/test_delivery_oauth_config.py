"""Access tokens in the configuration of a route: what is refused, what presets set, what a login becomes."""

import json
from pathlib import Path
from typing import Any

import pytest

from delivery.config import Delivery
from delivery.route.actions.kinds import ToHosts
from delivery.route.endpoint import Grant, Login, TokenSource
from jetpost.config.load import ConfigurationError, check, configuration_model

MODEL = configuration_model(("delivery",))
FILE = __file__
URL = "https://issuer.test/token"
CLIENT = {"kind": "client_credentials", "token_url": URL, "client_id": "app", "client_secret_file": FILE}
BEARER = {"kind": "jwt_bearer", "token_url": URL, "key_file": FILE}
REFRESH = {"kind": "refresh_token", "token_url": URL, "client_id": "app", "refresh_token_file": FILE}


def action(oauth: Any, **auth: Any) -> dict[str, Any]:
    hosts = {"kind": "hosts", "hosts": [{"host": "smart.test"}]}
    return {**hosts, "auth": {"user": "ann@example.org", "oauth": oauth, **auth}}


def made(action: dict[str, Any]) -> ToHosts:
    (rule,) = Delivery.model_validate({"routes": [{"name": "r", "action": action}]}).routes
    assert isinstance(rule.action, ToHosts)
    return rule.action


def login(action: dict[str, Any]) -> Login:
    found = made(action).terms("r", "").login
    assert found is not None
    return found


def tokens(action: dict[str, Any]) -> TokenSource:
    found = login(action).tokens
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (action({}), "action.auth.oauth: needs a `kind`, one of client_credentials, "),
        (action({"kind": "password"}), "action.auth.oauth: `kind` must be one of client_credentials, "),
        (action({**CLIENT, "client_secret": "s3cret"}), "client_secret: unknown key"),
        (action(CLIENT, password_file=FILE), "action.auth: password_file: set either this or `oauth`"),
        (action(CLIENT, mechanisms=["PLAIN"]), "action.auth: mechanisms: with `oauth` they are XOAUTH2 and"),
        (action({**CLIENT, "token_url": "http://issuer.test/token"}), "token_url: secrets are not sent without TLS"),
        (action({**CLIENT, "token_url": "ftp://issuer.test/token"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": None}), "token_url: "),
        (action({**BEARER, "token_url": ""}), "token_url: must be a URL such as"),
        (action({"kind": "jwt_bearer", "key_file": FILE}), "oauth: token_url: is required"),
        (action({**CLIENT, "token_url": "issuer.test"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": "https://"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": "https://a:b@issuer.test/"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": "https://issuer.test:99999/"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": "https://issuer.test/#x"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": "https://issuer.test/a b"}), "token_url: a URL has no spaces"),
        (action({**CLIENT, "token_url": "https://issuer.test/\r\nX: y"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "token_url": "https://[::1/"}), "token_url: must be a URL such as"),
        (action({**CLIENT, "insecure_http": True}), "insecure_http: it is for a `token_url` with http"),
        (action({**CLIENT, "tenant": "t"}), "tenant: it is required if `token_url` has `{tenant}`"),
        (action({**CLIENT, "token_url": URL + "/{tenant}"}), "tenant: it is required if `token_url` has `{tenant}`"),
        (action({**CLIENT, "token_url": URL + "/{tenant}", "tenant": "a/../b"}), "tenant: "),
        (
            action({**CLIENT, "token_url": "http://127.0.0.1/", "ca_file": FILE}),
            "ca_file: nothing is verified with http",
        ),
        (action({**CLIENT, "client_secret_file": None}), "client_secret_file: is required, or `key_file`"),
        (action({**CLIENT, "key_file": FILE}), "client_secret_file: set either this or `key_file`"),
        (action({**CLIENT, "certificate_file": FILE}), "key_file: `certificate_file`, `key_id` and `audience` mean"),
        (action({**CLIENT, "client_secret_file": "/no/such"}), "client_secret_file: cannot read /no/such"),
        (action({**CLIENT, "client_id": ""}), "client_id: "),
        (action({**REFRESH, "refresh_token_file": None}), "refresh_token_file: "),
        (action({**BEARER, "key_file": None}), "key_file: "),
        (
            {"kind": "hosts", "preset": "microsoft-365", "auth": {"user": "u", "oauth": {"client_id": "a"}}},
            "tenant: it is required if `token_url` has `{tenant}`",
        ),
        (
            {"kind": "hosts", "preset": "sendgrid", "auth": {"user": "u", "oauth": CLIENT}},
            "mechanisms: with `oauth` they are XOAUTH2 and OAUTHBEARER",
        ),
    ],
)
def test_what_cannot_work_is_refused_in_words(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check(json.dumps({"delivery": {"routes": [{"name": "r", "action": given}]}}), {}, MODEL, name="jetpost.yaml")
    assert any(problem in it for it in refused.value.problems), refused.value.problems
    assert not any("s3cret" in it for it in refused.value.problems)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/t", "http://[::1]:8080/t", "http://localhost/t"])
def test_http_is_for_this_host_or_by_an_explicit_word(url: str) -> None:
    assert tokens(action({**CLIENT, "token_url": url})).verified == ""
    elsewhere = {**CLIENT, "token_url": "http://issuer.test/t", "insecure_http": True}
    assert tokens(action(elsewhere)).verified == ""


def test_a_login_with_tokens_has_no_password_and_uses_their_mechanisms() -> None:
    found = login(action(CLIENT, name="upstream"))
    assert (found.name, found.user, found.password_file) == ("upstream", "ann@example.org", "")
    assert found.mechanisms == ("OAUTHBEARER", "XOAUTH2")
    assert found.files == (FILE,)
    assert login(action(CLIENT, mechanisms=["XOAUTH2"])).mechanisms == ("XOAUTH2",)


def test_routes_with_the_same_credentials_share_their_tokens() -> None:
    assert tokens(action(CLIENT)) == tokens(action(dict(CLIENT), name="other"))
    assert tokens(action(BEARER)) == tokens(action(dict(BEARER)))
    assert tokens(action(BEARER)) != tokens(action(BEARER, user="bob@example.org"))  # another mailbox
    assert tokens(action(CLIENT)) == tokens(action(CLIENT, user="bob@example.org"))  # of the application


def test_microsoft_needs_tenant_client_and_files_only() -> None:
    oauth = {"tenant": "contoso.onmicrosoft.com", "client_id": "app", "key_file": FILE, "certificate_file": FILE}
    auth = {"user": "app@contoso.example", "oauth": oauth}
    given = {"kind": "hosts", "preset": "microsoft-365", "auth": auth}
    (host,) = made(given).hosts
    assert (host.host, host.port) == ("smtp.office365.com", 587)
    assert login(given).mechanisms == ("XOAUTH2",)
    assert tokens(given) == TokenSource(
        Grant.CLIENT_CREDENTIALS,
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token",
        "public CAs",
        client_id="app",
        scope="https://outlook.office365.com/.default",
        key_file=FILE,
        certificate_file=FILE,
        algorithm="PS256",
        secret_in_body=True,
    )


def test_google_needs_the_key_of_a_service_account_only() -> None:
    given = {
        "kind": "hosts",
        "preset": "google-workspace",
        "auth": {"user": "a@b.example", "oauth": {"key_file": FILE}},
    }
    (host,) = made(given).hosts
    assert (host.host, host.port) == ("smtp.gmail.com", 587)
    assert login(given).mechanisms == ("XOAUTH2",)
    assert tokens(given) == TokenSource(
        Grant.JWT_BEARER,
        "https://oauth2.googleapis.com/token",
        "public CAs",
        scope="https://mail.google.com/",
        key_file=FILE,
        subject="a@b.example",
    )


def test_another_grant_keeps_what_the_preset_knows() -> None:
    oauth = {"kind": "refresh_token", "client_id": "app", "client_secret_file": FILE, "refresh_token_file": FILE}
    given = {"kind": "hosts", "preset": "google-workspace", "auth": {"user": "a@gmail.com", "oauth": oauth}}
    found = tokens(given)
    assert (found.grant, found.token_url) == (Grant.REFRESH, "https://oauth2.googleapis.com/token")
    assert found.scope == "https://mail.google.com/"
    assert found.secret_in_body


def test_a_key_that_cannot_be_used_is_remarked_on_and_stops_no_other_route(tmp_path: Path) -> None:
    (secret := tmp_path / "secret").write_text("s3cret")
    bad = action({**BEARER, "client_id": "app"})
    good = action({**CLIENT, "client_secret_file": str(secret)})
    routes = [{"name": "good", "match": {"senders": ["a.test"]}, "action": good}]
    routes += [{"name": "bad", "action": bad, "fallback": good}]
    routes[0]["fallback"] = good
    (remark,) = Delivery.model_validate({"routes": routes}).remarks()
    assert remark == (
        f"delivery.routes (bad): no access token can be requested: cannot use {FILE}: it has no private key in PEM"
    )


def test_what_is_given_counts_before_the_preset() -> None:
    oauth = {"token_url": URL, "client_id": "app", "client_secret_file": FILE, "scope": "mine"}
    given = {"kind": "hosts", "preset": "microsoft-365", "auth": {"user": "u", "oauth": oauth}}
    assert (tokens(given).token_url, tokens(given).scope) == (URL, "mine")
