"""The dashboards there are."""

from docs.dashboards.destinations import DESTINATIONS
from docs.dashboards.ingress import INGRESS
from docs.dashboards.message import MESSAGE
from docs.dashboards.overview import OVERVIEW
from docs.dashboards.panel import Dashboard
from docs.dashboards.queue import QUEUE

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, DESTINATIONS, INGRESS, QUEUE, MESSAGE)
