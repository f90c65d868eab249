"""File descriptors: each connection is one, and the system gives a process few unless it asks for more."""

import resource


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one. Where that is forbidden it stays as it is.

    The soft limit is low (1024 on most systems) only for the sake of programs that use select(), which none of ours is.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return


def limit() -> int:
    """How many files this process may have open at a time."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
