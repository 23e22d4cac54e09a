"""Write `sasl_core/_saslprep_tables.py` from the standard library's Unicode 3.2 database.

    python tests/tools/make_saslprep_tables.py sasl_core/_saslprep_tables.py

Without an argument the module's text goes to standard output. Building it takes some two
seconds, which is why the result is kept. Source: RFC 3454 appendices A to D, as the
modules `stringprep` and `unicodedata` have them.
"""

from __future__ import annotations

import pathlib
import stringprep
import sys
from collections.abc import Callable

Table = Callable[[str], bool]

# The order decides when a code point is in several tables, and is that of CLASS_NAMES.
PROHIBITED: list[tuple[str, Table]] = [
    ("a non-ASCII space (C.1.2)", stringprep.in_table_c12),
    ("a control character (C.2.1)", stringprep.in_table_c21),
    ("a non-ASCII control character (C.2.2)", stringprep.in_table_c22),
    ("a private-use code point (C.3)", stringprep.in_table_c3),
    ("a non-character (C.4)", stringprep.in_table_c4),
    ("a surrogate (C.5)", stringprep.in_table_c5),
    ("inappropriate for plain text (C.6)", stringprep.in_table_c6),
    ("inappropriate for canonical representation (C.7)", stringprep.in_table_c7),
    ("a deprecated or display-changing code point (C.8)", stringprep.in_table_c8),
    ("a tagging character (C.9)", stringprep.in_table_c9),
]
NEUTRAL, LEFT, RIGHT, UNASSIGNED, FIRST_PROHIBITED = range(5)
NAMES = ["neutral", "LCat (D.2)", "RandALCat (D.1)", "unassigned in Unicode 3.2 (A.1)"]

HEAD = '''"""Tables of SASLprep (RFC 4013): what each code point of Unicode 3.2 becomes, or is.

Made by tests/tools/make_saslprep_tables.py; a test makes them again and compares.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BOUNDS", "CLASSES", "CLASS_NAMES", "MAPPING"]

# fmt: off
'''


def classify(character: str) -> int:
    """Return the class of one code point: an index into CLASS_NAMES."""
    for number, (_, table) in enumerate(PROHIBITED, FIRST_PROHIBITED):
        if table(character):
            return number
    if stringprep.in_table_a1(character):
        return UNASSIGNED
    if stringprep.in_table_d1(character):
        return RIGHT
    return LEFT if stringprep.in_table_d2(character) else NEUTRAL


def ranges() -> tuple[list[int], bytes]:
    """Return where each run of one class begins, and the classes of the runs."""
    bounds: list[int] = []
    classes = bytearray()
    for code_point in range(0x110000):
        number = classify(chr(code_point))
        if not classes or classes[-1] != number:
            bounds.append(code_point)
            classes.append(number)
    return bounds, bytes(classes)


def mapping() -> dict[int, str | None]:
    """Return what is replaced before normalisation (RFC 4013 section 2.1).

    U+200B stands in both tables. It becomes a space, as libidn and PostgreSQL have it.
    """
    mapped: dict[int, str | None] = {}
    for code_point in range(0x110000):
        if stringprep.in_table_c12(chr(code_point)):
            mapped[code_point] = " "
        elif stringprep.in_table_b1(chr(code_point)):
            mapped[code_point] = None
    return mapped


def module() -> str:
    """Return the text of the module."""
    bounds, classes = ranges()
    lines = [HEAD + "CLASS_NAMES: Final[tuple[str, ...]] = ("]
    lines += [f'    "{name}",' for name in [*NAMES, *(name for name, _ in PROHIBITED)]]
    lines += [")", '"""What a class is; those from 4 on are prohibited."""', ""]
    lines += ["MAPPING: Final[dict[int, str | None]] = {"]
    lines += [
        f"    0x{code_point:04X}: {'None' if to is None else chr(34) + to + chr(34)},"
        for code_point, to in mapping().items()
    ]
    lines += ["}", '"""Code point -> a space, or nothing (RFC 4013 section 2.1)."""', ""]
    lines += ["BOUNDS: Final[tuple[int, ...]] = ("]
    for start in range(0, len(bounds), 10):
        row = ", ".join(f"0x{bound:05X}" for bound in bounds[start : start + 10])
        lines.append(f"    {row},")
    lines += [")", '"""Where each run of code points of one class begins."""', ""]
    lines += ["CLASSES: Final = bytes.fromhex("]
    digits = classes.hex()
    lines += [f'    "{digits[start : start + 80]}"' for start in range(0, len(digits), 80)]
    lines += [")", '"""The class of each of those runs."""']
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _ = pathlib.Path(sys.argv[1]).write_text(module(), encoding="ascii")
    else:
        _ = sys.stdout.write(module())
