"""What every configuration section is made of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jetpost.config.units import in_base_units, unit_of
from jetpost.mail.address import a_labels


class Section(BaseModel):
    """One block of the configuration file. The docstring under a field is its documentation; units are in its name."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _in_base_units(cls, given: Any) -> Any:
        """`5m` where seconds are meant, `10MB` where bytes are."""
        if not isinstance(given, Mapping):
            return given
        return {name: _in_base_units(name, value) for name, value in given.items()}

    def faults(self) -> tuple[str, ...]:
        """What cannot work as it is, while the rest can: a sentence each.

        It is an error of `jetpost config check` and the doctor. The process logs it and runs.
        """
        return ()

    def remarks(self) -> tuple[str, ...]:
        """What is no mistake, and still no good: a sentence each, said at start and by `jetpost config check`."""
        return ()


_WORDS: dict[str, str] = {}
"""What texts that match a pattern are; filled while the models are made."""


def matching(pattern: str, words: str) -> Any:
    """A `Field` whose text matches `pattern`; `words` complete "must be …" for those who do not read patterns."""
    _WORDS[pattern] = words
    return Field(pattern=pattern)


def in_words(pattern: str) -> str:
    """What a text that matches `pattern` is."""
    return _WORDS.get(pattern, f"text that matches `{pattern}`")


def _in_base_units(name: Any, value: Any) -> Any:
    unit = unit_of(str(name)) if isinstance(value, str) else None
    number = in_base_units(value, unit) if unit is not None else None
    return value if number is None else number


def _readable(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    return path


ReadableFile = Annotated[Path, AfterValidator(_readable)]
"""A file that must exist and be readable when the configuration is loaded."""


class Secret(NamedTuple):
    """Marks a field: nobody but the process should read its file."""


SecretFile = Annotated[Path, AfterValidator(_readable), Secret()]
"""A readable file with a password, a token or a private key."""


def domain_name(text: str) -> str:
    """A domain in lower case with A-labels. ValueError: it is none."""
    labels = a_labels(text)
    if labels is None:
        raise ValueError(f"must be a domain such as example.org, got `{text}`")
    return labels


DomainName = Annotated[str, AfterValidator(domain_name)]
