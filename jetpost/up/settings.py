"""What an operator may say about a system on one machine."""

from typing import Annotated

from pydantic import Field

from jetpost.config.section import Section

Port = Annotated[int, Field(ge=0, le=65535)]


class Up(Section):
    """The whole system on one machine (`jetpost up`); other ways of running it ignore this section."""

    ingress: Annotated[int, Field(ge=1, le=64)] = 1
    """Ingress processes. They share the listening ports."""
    delivery: Annotated[int, Field(ge=1, le=64)] = 1
    """Delivery processes."""
    nats_port: Port = 0
    """Port of the embedded nats-server on loopback. 0 takes a free one and keeps it for later starts."""
    nats_monitoring_port: Port = 0
    """HTTP port of the embedded nats-server on loopback; 0 as above."""
    http_port: Port = 0
    """Port of `/metrics`, `/livez` and `/readyz` of the first process; the others count up from it, in the order in
    which `jetpost up` lists them. 0 gives each a free one."""
    ready_timeout_s: Annotated[float, Field(gt=0)] = 60
    """After this long, `jetpost up` says who is not ready, and goes on."""
    restart_first_s: Annotated[float, Field(gt=0)] = 0.2
    """Delay before a process that died is started again; doubles while it keeps dying."""
    restart_cap_s: Annotated[float, Field(gt=0)] = 5
    """Longest delay before a process is started again. One that lived longer than this counts as new."""
    stop_timeout_s: Annotated[float, Field(gt=0)] = 90
    """How long a process may take to stop before it is killed. Keep it above every `drain_s`."""
