"""Why a process must not start."""


class Unsafe(Exception):  # noqa: N818 — a state of the world, named as one
    """The queue would not keep what Jetpost promises."""
