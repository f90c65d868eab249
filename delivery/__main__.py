"""`python -m delivery`: one delivery process."""

from delivery.service import serve
from jetpost.process.run import run

if __name__ == "__main__":
    run("delivery", serve)
