"""Values of a schema file: codes, ranges, shares and sizes, as pydantic reads them."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from tacit.settings import Count

STRICT: Final = ConfigDict(extra="forbid")


def _code(value: object) -> object:
    if isinstance(value, bool) or value is None:
        shown = "null" if value is None else str(value).lower()
        raise ValueError(
            f"{shown} is neither text nor a number: put it in quotation marks, as it stands in "
            "the file"
        )
    return value


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _named(value: object) -> object:
    """Let a list stand for a mapping of each to itself."""
    if not isinstance(value, list):
        return value
    return {f"{each:g}" if isinstance(each, int | float) else each: each for each in value}


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] < value[1]:
        raise ValueError(f"[{value[0]:g}, {value[1]:g}] must be [lowest, highest], lowest first")
    return value


Text = Annotated[str, Field(min_length=1, strict=True)]
AnyText = Annotated[str, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1, strict=True)]
Range = Annotated[tuple[Finite, Finite], AfterValidator(_rising)]
Code = Annotated[AnyText | Finite, BeforeValidator(_code)]
Codes = tuple[Code, ...]
CodeOrCodes = Annotated[Codes, BeforeValidator(_listed)]
Texts = Annotated[tuple[AnyText, ...], BeforeValidator(_listed)]
Sizes = Mapping[str, Count]
Classes = Annotated[Mapping[Text, CodeOrCodes], BeforeValidator(_named)]
Labels = Annotated[Mapping[Text, Text], BeforeValidator(_named)]


def check_codes(codes: Codes) -> None:
    """Refuse codes of two types, or one that stands twice.

    Raises
    ------
    ValueError
        Says which.
    """
    if len({isinstance(code, str) for code in codes}) > 1:
        raise ValueError(
            "codes are numbers and text: put all in quotation marks, and each is compared to "
            "the letter"
        )
    for place, code in enumerate(codes):
        if code in codes[:place]:
            raise ValueError(f"code {code!r} stands there twice")
