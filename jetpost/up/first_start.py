"""What a first try needs: a configuration, a self-signed certificate and a users file, made in the data folder."""

import json
import socket
from pathlib import Path

from jetpost.up.certificate import self_signed

CONFIGURATION = "jetpost.yaml"

_YAML = """\
# Made by `jetpost up` for a first try, and never written again: change it as you like.
# `jetpost config reference` tells all there is to say; `jetpost config check` tells mistakes.
hostname: {hostname}
ingress:
  # postmaster: you@example.org  # who reads mail to this system's postmaster
  tls:  # self-signed: replace both files by a certificate that clients trust, without a restart
    certificate: {certificate}
    key: {key}
  auth:
    backends:
      - kind: users_file
        path: {users}
  listeners:
    - name: submission
      port: 2587
      tls: starttls
      submission: true
      require_auth: true
    - name: submissions
      port: 2465
      tls: implicit
      submission: true
      require_auth: true
    - name: relay  # for programs on this machine
      port: 2525
      relay_networks: [127.0.0.0/8, "::1/128"]
"""

_GREETING = """\
A first start: made {configuration}, a self-signed certificate and an empty users file.
In another terminal, add a user and send the first mail:
  jetpost user add {users} me
  jetpost send --user me --from me@{hostname} --to you@example.org --ca {certificate}
"""


def prepare(data: Path) -> str:
    """Make the files that are missing in `data`; the words that tell a newcomer what was made and what comes next."""
    configuration, users = data / CONFIGURATION, data / "users"
    certificate, key = data / "certificate.pem", data / "key.pem"
    hostname = socket.gethostname() or "localhost"
    if not (certificate.exists() and key.exists()):
        self_signed(hostname, certificate, key)
    users.touch(mode=0o600)
    # A JSON string is a YAML string, whatever the folder's name contains.
    places = {"certificate": certificate, "key": key, "users": users}
    quoted = {name: json.dumps(str(place)) for name, place in places.items()}
    configuration.write_text(_YAML.format(hostname=json.dumps(hostname), **quoted), encoding="utf-8")
    return _GREETING.format(configuration=configuration, hostname=hostname, **places).rstrip()
