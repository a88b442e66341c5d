"""Plans of all tiers of a parameter file."""

from pathlib import Path

from bnbench.core.errors import UserError
from bnbench.params.resolve import check
from bnbench.plan.plan import Plan


def valid_tiers(params: Path, root: Path = Path()) -> tuple[list[Plan], dict[str, str]]:
    """Plan every tier of a parameter file, the file's own tier first.

    Returns:
        The plans of the valid tiers; for each invalid tier the error message.

    Raises:
        UserError: the file cannot be read, or no tier of it is valid.
    """
    known = check(params)
    plans: list[Plan] = []
    refused: dict[str, str] = {}
    for tier in dict.fromkeys([known.tier, *known.tiers]):
        try:
            plans.append(Plan(params, tier, root))
        except UserError as error:
            refused[tier] = str(error)
    if not plans:
        raise UserError(refused[known.tier])
    return plans, refused
