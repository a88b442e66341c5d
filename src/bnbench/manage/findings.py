"""Findings of `bnbench doctor`: what is wrong, where, and the remedy."""

from dataclasses import dataclass

from bnbench.core.errors import UserError


@dataclass(frozen=True)
class Finding:
    """A fault of the project's folder and its remedy; a note is harmless, and does not change the exit code."""

    what: str
    remedy: str
    note: bool = False

    def __str__(self) -> str:
        return f"{'note: ' if self.note else ''}{self.what}\n  -> {self.remedy}"

    @classmethod
    def of(cls, error: UserError) -> "Finding":
        """Return the finding of an error, whose remedy is its last line or follows its last semicolon."""
        text = str(error)
        what, _, remedy = text.rpartition("\n" if "\n" in text else "; ")
        return cls(what, remedy) if what else cls(text, "see above")
