"""Loading a real file: only the sections that a process reads, from the file and the environment."""

from pathlib import Path

import pytest

from jetpost.config.load import ConfigurationError, load
from jetpost.jetstream.settings import Nats
from jetpost.process.http import Http
from jetpost.queue.provision.settings import QueueSettings

SECTIONS = ("nats", "queue")


def test_defaults_need_no_file() -> None:
    settings = load(None, {"JETPOST_HOSTNAME": "mx.test"}, sections=SECTIONS)

    assert settings.hostname == "mx.test"
    assert settings.of(QueueSettings) == QueueSettings()


def test_a_process_does_not_judge_the_sections_of_others(tmp_path: Path) -> None:
    file = tmp_path / "jetpost.yaml"
    file.write_text("queue: {shards: 2}\ningress: {nonsense: 1}\n")

    settings = load(file, {"JETPOST_INGRESS__MORE": "nonsense"}, sections=SECTIONS)

    assert settings.of(QueueSettings).shards == 2
    with pytest.raises(KeyError):
        settings.of(Http)


def test_a_secret_stays_text_and_is_not_shown(tmp_path: Path) -> None:
    settings = load(None, {"JETPOST_NATS__PASSWORD": "0123"}, sections=SECTIONS)

    assert settings.of(Nats).password.get_secret_value() == "0123"
    assert "0123" not in repr(settings.of(Nats))


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "jetpost.yaml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        load(file, {}, sections=SECTIONS)

    (problem,) = caught.value.problems
    assert problem.startswith(f"{file}: cannot be read: ")


def test_a_file_that_a_section_names_must_be_readable() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, {"JETPOST_NATS__CREDENTIALS_FILE": "/no/such.creds"}, sections=SECTIONS)

    (problem,) = caught.value.problems
    assert "/no/such.creds" in problem
