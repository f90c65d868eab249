"""`python -m ingress`: one ingress process."""

from ingress.service import serve
from jetpost.process.run import run

if __name__ == "__main__":
    run("ingress", serve)
