"""`python -m demo`: exit status 0 when everything that is shown really happened."""

import asyncio
import sys

from demo.demo import demo

try:
    sys.exit(asyncio.run(demo()))
except KeyboardInterrupt:
    sys.exit(130)
