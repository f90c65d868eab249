"""Why something failed, in words: never empty, for many an exception says nothing (`TimeoutError()` above all)."""

LONGEST = 2_000

_SILENT: dict[type[BaseException], str] = {
    TimeoutError: "timed out",
    ConnectionResetError: "connection reset",
    ConnectionAbortedError: "connection aborted",
    ConnectionRefusedError: "connection refused",
    BrokenPipeError: "broken pipe",
    EOFError: "the other side closed",
}


def reason_of(error: BaseException) -> str:
    """What `error` says, at most `LONGEST` characters; or its kind, or the reason of what caused it. Never raises."""
    for each in (error, error.__cause__):
        if each is not None and (said := _said(each)):
            return said
    return _SILENT.get(type(error), type(error).__name__)


def _said(error: BaseException) -> str:
    try:
        return str(error).strip()[:LONGEST]
    except Exception:  # a `__str__` of whatever kind
        return ""
