"""Text from outside as a person can read it."""


def one_line(text: str, longest: int) -> str:
    """At most so many characters of it, and nothing that a terminal would act upon."""
    shown = "".join(each if each.isprintable() else "?" for each in text[:longest])
    return shown + "…" if len(text) > longest else shown
