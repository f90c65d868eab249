"""SASL as a client: what is sent for each mechanism, and which one is chosen."""

import pytest

from delivery.connect.auth.mechanisms import MECHANISMS, Secret, chosen

ANN = Secret("ann", "secret")


@pytest.mark.parametrize(
    ("name", "challenges", "responses"),
    [
        ("PLAIN", [], [b"\0ann\0secret"]),
        ("LOGIN", [b"Username:", b"Password:"], [None, b"ann", b"secret"]),
        ("LOGIN", [b"", b"anything"], [None, b"ann", b"secret"]),
        # RFC 2195, 2: the example.
        (
            "CRAM-MD5",
            [b"<1896.697170952@postoffice.reston.mci.net>"],
            [None, b"tim b913a602c7eda7a495b4e6e7334d3890"],
        ),
        ("XOAUTH2", [b'{"status":"401"}'], [b"user=ann\1auth=Bearer secret\1\1", b""]),
        ("OAUTHBEARER", [b'{"status":"invalid_token"}'], [b"n,a=ann,\1auth=Bearer secret\1\1", b"\1"]),
    ],
)
def test_each_mechanism_answers_the_challenges(
    name: str, challenges: list[bytes], responses: list[bytes | None]
) -> None:
    exchange = MECHANISMS[name](Secret("tim", "tanstaaftanstaaf") if name == "CRAM-MD5" else ANN)

    assert [next(exchange), *(exchange.send(challenge) for challenge in challenges)] == responses
    with pytest.raises(StopIteration):
        exchange.send(b"one more")


def test_a_user_with_special_characters_is_escaped() -> None:
    assert next(MECHANISMS["OAUTHBEARER"](Secret("a=b,c", "t"))) == b"n,a=a=3Db=2Cc,\1auth=Bearer t\1\1"


@pytest.mark.parametrize(
    ("offered", "wanted", "name"),
    [
        ("LOGIN PLAIN CRAM-MD5", (), "PLAIN"),
        ("login cram-md5", (), "LOGIN"),
        ("CRAM-MD5", (), "CRAM-MD5"),
        ("=LOGIN", (), "LOGIN"),
        ("XOAUTH2 OAUTHBEARER", (), None),  # a password is no token
        ("LOGIN XOAUTH2", ("XOAUTH2",), "XOAUTH2"),
        ("PLAIN LOGIN", ("CRAM-MD5", "LOGIN", "PLAIN"), "LOGIN"),
        ("NTLM GSSAPI", (), None),
        ("PLAIN-CLIENTTOKEN", (), None),
        ("", (), None),
    ],
)
def test_the_first_mechanism_that_both_know_is_chosen(offered: str, wanted: tuple[str, ...], name: str | None) -> None:
    assert chosen(offered, wanted) == name
