"""How figures are written for people: bytes, shares, plain numbers."""

from __future__ import annotations


def human_bytes(n: float) -> str:
    """Return a number of bytes with three digits and a unit.

    >>> human_bytes(999), human_bytes(1500), human_bytes(25_300_000)
    ('999 B', '1.50 kB', '25.3 MB')
    """
    unit = "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if n < 999.5 or unit == "PB":
            break
        n /= 1000
    digits = 0 if unit == "B" or n >= 99.95 else 1 if n >= 9.995 else 2
    return f"{n:.{digits}f} {unit}"


def percent(fraction: float | None) -> str:
    """Return an accuracy as a percentage, or a dash.

    >>> percent(0.9444), percent(None)
    ('94.4 %', '–')
    """
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def number(value: float | None) -> str:
    """Return a number with four digits, or a dash.

    >>> number(0.5), number(None)
    ('0.5000', '–')
    """
    return "–" if value is None else f"{value:#.4g}"
