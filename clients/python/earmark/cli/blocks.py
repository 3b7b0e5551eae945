"""Bars of blocks, exact to an eighth of a cell."""

from rich.text import Text

_PARTS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_ASCII = str.maketrans("█▉▊▋▌▍▎▏▓▒░▇▆▅▄▃▂▁─│╭╮╰╯╌┤└┬", "######..%=.####...-|++++=|++")


def bar(part: int, whole: int, width: int) -> str:
    """So much of the width. Whatever is more than nothing is seen, and whatever is less than the whole is not full."""
    if part <= 0 or whole <= 0:
        return ""
    eighths = (part * width * 16 + whole) // (whole * 2)
    eighths = max(1, eighths if part >= whole else min(eighths, width * 8 - 1))
    full, rest = divmod(min(eighths, width * 8), 8)
    return "█" * full + _PARTS[rest]


def fill(allocated: int, valid: int, width: int) -> Text:
    """How much of what is valid is allocated; where it is more, what is valid, and then the rest."""
    if allocated > valid:
        within = max(0, valid) * width // allocated
        return Text.assemble(("█" * within, "green"), ("▓" * (width - within), "red"))
    used = bar(allocated, valid, width)
    return Text.assemble((used, "green"), ("░" * (width - len(used)), "dim"))


def as_ascii(text: Text) -> Text:
    """For terminals that know no more; as wide as before."""
    copy = text.copy()
    copy.plain = text.plain.translate(_ASCII)
    return copy
