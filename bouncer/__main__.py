"""`python -m bouncer`: one bouncer process."""

from bouncer.service import serve
from jetpost.process.run import run

if __name__ == "__main__":
    run("bouncer", serve)
