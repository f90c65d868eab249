"""What every configuration section is made of."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Section(BaseModel):
    """One block of the configuration file. The docstring under a field is its documentation; units are in its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def remarks(self) -> tuple[str, ...]:
        """What is no mistake, and still no good: a sentence each, said at start and by `jetpost config check`."""
        return ()


def _readable(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    return path


ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that must exist and be readable when the configuration is loaded."""
