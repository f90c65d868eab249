"""Each alert fires when it should, says what is wrong, and is silent a little below: asked of Prometheus's promtool."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from docs.chart import CHART
from tests.end_to_end.conftest import needs

ALERTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CHART / "alerts").glob("*.yaml"))}
HOURS = 12
_MINUTES = HOURS * 60
_POD = 'namespace="mail", pod="jetpost-x-1"'

Samples = Mapping[str, str]
"""Values by series, minute by minute, in promtool's notation: `5` stays, `0+60` rises."""


class Case(NamedTuple):
    """When an alert fires and when it does not."""

    firing: Samples
    says: str
    calm: Samples
    labels: Mapping[str, str] = {"namespace": "mail"}


def queue(metric: str, state: str, value: str) -> Samples:
    """A gauge of one state; the other states are in trouble that is none of this alert's business."""
    others = {"ready", "parked", "retry", "bounce", "held"} - {state}
    samples = {f'jetpost_queue_{metric}{{state="{other}", {_POD}}}': "0" for other in others}
    return samples | {f'jetpost_queue_{metric}{{state="{state}", {_POD}}}': value}


def recipients(**by_outcome: str) -> Samples:
    """Counters of what became of recipients."""
    return {f'jetpost_delivery_recipients_total{{outcome="{it}", {_POD}}}': value for it, value in by_outcome.items()}


def lag(quick: str, slow: str) -> Samples:
    """Wake-ups in time, and those that were half a second to a second late."""
    upto = {"0.5": quick, "1": slow, "+Inf": slow}
    return {f'jetpost_process_loop_lag_seconds_bucket{{le="{le}", {_POD}}}': value for le, value in upto.items()}


def storage(size: str, limit: str = "1000") -> Samples:
    """What a server has stored and what it may."""
    return {
        f'jetpost_nats_server_storage_bytes{{server="n0", {_POD}}}': size,
        f'jetpost_nats_server_storage_limit_bytes{{server="n0", {_POD}}}': limit,
    }


def of_pod(metric: str, value: str, labels: str = "") -> Samples:
    """One series of one pod."""
    return {f"jetpost_{metric}{{{labels}{_POD}}}": value}


SERVER = {"namespace": "mail", "server": "n0"}
POD = {"namespace": "mail", "pod": "jetpost-x-1"}
CASES: dict[str, Case] = {
    "acceptance-fails": Case(
        of_pod("ingress_rejections_total", "0+60", 'reason="queue", '),
        "In mail ingress rejects 1 messages per second with 451 or 452.",
        of_pod("ingress_rejections_total", "0+60", 'reason="relay", '),
    ),
    "bounces-are-high": Case(
        recipients(bounced="0+20", expired="0+10", delivered="0+90", deferred="0+600"),
        "In mail 25% of the finished recipients bounced or expired.",
        recipients(bounced="0+5", expired="0+5", delivered="0+90", deferred="0+600"),
    ),
    "certificate-expires": Case(
        of_pod("tls_certificate_expires_timestamp_seconds", str(6 * 86400 + _MINUTES * 60), 'file="/tls/tls.crt", '),
        "The certificate /tls/tls.crt in mail expires in 6d 0h 0m 0s.",
        of_pod("tls_certificate_expires_timestamp_seconds", str(8 * 86400 + _MINUTES * 60), 'file="/tls/tls.crt", '),
        {"namespace": "mail", "file": "/tls/tls.crt"},
    ),
    "clock-is-wrong": Case(
        of_pod("clock_offset_seconds", "-518400"),
        "The clock of jetpost-x-1 in mail differs by 6d 0h 0m 0s. The pod is not ready.",
        of_pod("clock_offset_seconds", "-50"),
        POD,
    ),
    "copies-are-behind": Case(
        of_pod("queue_replicas_behind", "2"),
        "In mail 2 replicas of the queue's streams are offline or not current.",
        of_pod("queue_replicas_behind", "0"),
    ),
    "access-tokens-fail": Case(
        of_pod("delivery_token_request_failing", "1", 'credentials="upstream", issuer="issuer.test", '),
        "In mail the issuer issuer.test gives no access token to the credentials upstream. Without one the mail of "
        "their route is deferred.",
        of_pod("delivery_token_request_failing", "0", 'credentials="upstream", issuer="issuer.test", '),
        {"namespace": "mail", "credentials": "upstream", "issuer": "issuer.test"},
    ),
    "credentials-are-refused": Case(
        of_pod("delivery_credentials_refused", "1", 'credentials="upstream", '),
        "In mail a host refuses the credentials upstream. The mail of their route is deferred.",
        of_pod("delivery_credentials_refused", "0", 'credentials="upstream", '),
        {"namespace": "mail", "credentials": "upstream"},
    ),
    "dkim-key-is-unusable": Case(
        of_pod("dkim_key_unusable", "1", 'file="/dkim/key.pem", '),
        "In mail /dkim/key.pem has no key that can sign. The previous key signs.",
        of_pod("dkim_key_unusable", "0", 'file="/dkim/key.pem", '),
        {"namespace": "mail", "file": "/dkim/key.pem"},
    ),
    "dkim-record-differs": Case(
        of_pod("dkim_record_differs", "1", 'domain="a.test", selector="s", '),
        "In mail DNS has no record s._domainkey.a.test that matches the key.",
        of_pod("dkim_record_differs", "0", 'domain="a.test", selector="s", '),
        {"namespace": "mail", "domain": "a.test", "selector": "s"},
    ),
    "deferrals-are-high": Case(
        recipients(deferred="0+60", delivered="0+20"),
        "In mail 75% of the attempted recipients were deferred.",
        recipients(deferred="0+40", delivered="0+60"),
    ),
    "disk-is-full": Case(
        of_pod("queue_write_error", "1", 'reason="disk_full", '),
        "No nats-server in mail can write (disk_full). Ingress replies 452 or 451 until there is free space and "
        "the nats-server was restarted.",
        of_pod("queue_write_error", "0", 'reason="disk_full", '),
        {"namespace": "mail", "reason": "disk_full"},
    ),
    "durability-is-unsafe": Case(
        of_pod("queue_unsafe", "1"),
        "In mail a nats-server does not sync each write, or its setting is unknown. Accepted mail can be lost if "
        "its machine fails.",
        of_pod("queue_unsafe", "0"),
    ),
    "event-loop-is-blocked": Case(
        lag("0+50", "0+100"),
        "The event loop of jetpost-x-1 in mail wakes up 990ms late.",
        lag("0+100", "0+100"),
        POD,
    ),
    "entries-are-unreadable": Case(
        of_pod("queue_unreadable_total", "0+1", 'state="ready", '),
        "In mail 60 entries were unreadable within the last hour. They are held.",
        of_pod("queue_unreadable_total", "7", 'state="ready", '),
    ),
    "events-are-dropped": Case(
        of_pod("events_dropped_total", "0+6"),
        "In mail 60 events were not stored. Mail is not affected.",
        of_pod("events_dropped_total", "600"),
    ),
    "mail-is-held": Case(
        queue("depth", "held", "3"),
        "In mail 3 entries are held.",
        queue("depth", "retry", "100000"),
    ),
    "mail-is-parked": Case(
        queue("waiting_seconds", "parked", "5400"),
        "In mail an entry has been parked for 1h 30m 0s.",
        queue("waiting_seconds", "parked", "3000"),
    ),
    "mail-waits": Case(
        queue("waiting_seconds", "ready", "150"),
        "In mail no delivery pod has claimed the first ready entry for 2m 30s.",
        queue("waiting_seconds", "ready", "100"),
    ),
    "nats-certificate-expires": Case(
        of_pod("nats_server_certificate_expires_timestamp_seconds", str(20 * 86400 + _MINUTES * 60), 'server="n0", '),
        "The certificate of n0 in mail expires in 20d 0h 0m 0s.",
        of_pod("nats_server_certificate_expires_timestamp_seconds", str(22 * 86400 + _MINUTES * 60), 'server="n0", '),
        SERVER,
    ),
    "nats-clock-is-wrong": Case(
        of_pod("nats_server_clock_offset_seconds", "3600", 'server="n0", '),
        "The clock of n0 in mail differs by 1h 0m 0s. Retries that it schedules start at the wrong time.",
        of_pod("nats_server_clock_offset_seconds", "50", 'server="n0", '),
        SERVER,
    ),
    "nats-is-unreachable": Case(
        of_pod("nats_connected", "0"),
        "jetpost-x-1 in mail is not connected to NATS. It neither accepts nor delivers mail.",
        of_pod("nats_connected", "1"),
        POD,
    ),
    "nats-server-is-down": Case(
        # One pod cannot reach it and the other can: that is the network, which other alerts tell of.
        of_pod("nats_server_up", "0", 'server="n0", '),
        "n0 in mail does not respond at its monitoring URL. If another server fails, no mail is accepted.",
        {
            'jetpost_nats_server_up{server="n0", namespace="mail", pod="a"}': "0",
            'jetpost_nats_server_up{server="n0", namespace="mail", pod="b"}': "1",
        },
        SERVER,
    ),
    "passwords-are-guessed": Case(
        of_pod("ingress_auth_total", "0+60", 'result="wrong", '),
        "In mail 1 logins per second fail.",
        of_pod("ingress_auth_total", "0+6000", 'result="ok", '),
    ),
    "dsns-wait": Case(
        queue("waiting_seconds", "bounce", "600"),
        "In mail a failed recipient has waited for its DSN for 10m 0s.",
        queue("waiting_seconds", "bounce", "60"),
    ),
    "route-is-throttled": Case(
        of_pod("delivery_route_throttled", "1", 'route="upstream", '),
        "In mail each host of the route upstream throttles delivery. The mail of the route waits.",
        of_pod("delivery_route_throttled", "0", 'route="upstream", '),
        {"namespace": "mail", "route": "upstream"},
    ),
    "service-is-down": Case(
        {
            # Ended in the ninth hour: Prometheus finds no series any more.
            'jetpost_nats_connected{job="delivery", namespace="mail", pod="d"}': f"1x540 _x{_MINUTES - 540}",
            'jetpost_nats_connected{job="ingress", namespace="mail", pod="i"}': "1",
        },
        "In mail Prometheus can scrape no pod of delivery.",
        {
            # One pod of two left.
            'jetpost_nats_connected{job="delivery", namespace="mail", pod="d"}': f"1x540 _x{_MINUTES - 540}",
            'jetpost_nats_connected{job="delivery", namespace="mail", pod="e"}': "1",
        },
        {"namespace": "mail", "job": "delivery"},
    ),
    "store-is-damaged": Case(
        of_pod("queue_damaged_messages", "2", 'stream="MAIL", '),
        "In mail 2 messages of MAIL cannot be read from disk.",
        of_pod("queue_damaged_messages", "0", 'stream="MAIL", '),
        {"namespace": "mail", "stream": "MAIL"},
    ),
    "replica-may-be-incomplete": Case(
        of_pod("queue_replica_suspect", "1", 'stream="MAIL", server="n2", '),
        "In mail the replica of MAIL on n2 may lack messages. Another one leads.",
        of_pod("queue_replica_suspect", "0", 'stream="MAIL", server="n2", '),
        {"namespace": "mail", "stream": "MAIL", "server": "n2"},
    ),
    "store-does-not-add-up": Case(
        of_pod("queue_unaccounted_messages", "45", 'stream="MAIL", '),
        "In mail the counts of MAIL differ by 45 messages.",
        of_pod("queue_unaccounted_messages", "0", 'stream="MAIL", '),
        {"namespace": "mail", "stream": "MAIL"},
    ),
    "store-has-lost": Case(
        of_pod("queue_loss", "1", 'stream="MAIL", '),
        "In mail MAIL has lost messages. No pod is ready until an operator acknowledges the loss.",
        of_pod("queue_loss", "0", 'stream="MAIL", '),
        {"namespace": "mail", "stream": "MAIL"},
    ),
    "storage-fills": Case(
        storage("850"),
        "n0 in mail uses 85% of its storage. If it is full, ingress replies 452.",
        storage("750"),
        SERVER,
    ),
    "stream-is-missing": Case(
        of_pod("queue_streams_missing", "2"),
        "In mail 2 streams of the queue are missing or lost their last messages. No mail is accepted.",
        of_pod("queue_streams_missing", "0"),
    ),
}


def expanded(samples: Samples) -> list[dict[str, str]]:
    """In promtool's words, for as long as the tests look."""
    return [
        {"series": series, "values": values if "x" in values else f"{values}{'' if '+' in values else '+0'}x{_MINUTES}"}
        for series, values in samples.items()
    ]


def promtool(name: str, samples: Samples, expected: list[dict[str, Any]], folder: Path) -> None:
    """Ask promtool whether an alert's state after half a day is what is expected."""
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "jetpost", "rules": [ALERTS[name]]}]}))
    asked = {"eval_time": f"{HOURS}h", "alertname": ALERTS[name]["alert"], "exp_alerts": expected}
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": expanded(samples), "alert_rule_test": [asked]}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(test))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "test.yaml"]):
        ran = subprocess.run(  # noqa: S603 — our own words
            [needs("promtool"), *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_tested() -> None:
    assert ALERTS.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_fires_and_says_what_is_wrong(name: str, tmp_path: Path) -> None:
    rule, case = ALERTS[name], CASES[name]
    says = {**rule["annotations"], "description": case.says}
    expected = {"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": says}

    promtool(name, case.firing, [expected], tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_it_is_silent_while_all_is_well(name: str, tmp_path: Path) -> None:
    promtool(name, CASES[name].calm, [], tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_its_metrics_are_documented(name: str) -> None:
    documented = Path("docs/reference/metrics.md").read_text(encoding="utf-8")
    words = (
        ALERTS[name]["expr"]
        .replace("_bucket", "")
        .replace("(", " ")
        .replace("{", " ")
        .replace("[", " ")
        .replace(")", " ")
    )
    metrics = [word for word in words.split() if word.startswith("jetpost_")]
    assert metrics
    assert all(f"`{metric}`" in documented for metric in metrics)
