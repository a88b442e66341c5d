"""Snakemake's `--config`: what may be said there, as strictly as in the parameter file."""

import shlex
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from bnbench.core import devices
from bnbench.core.yaml_reader import Document
from bnbench.params import messages
from bnbench.params.fields import Positive, Strict, Tier

PARAMS = "params.yaml"
SOURCE = Path("--config, or a profile's configfile")
Place = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4000)]


class Config(Strict):
    """What `snakemake --config` and the `configfile` of a profile may set."""

    params: Annotated[Place, Field(description="the parameter file")] = PARAMS
    tier: Annotated[Tier | None, Field(description="instead of the parameter file's")] = None
    device: Annotated[str, AfterValidator(devices.named), Field(description="what trains")] = "cpu"
    site: Annotated[Place | None, Field(description="a cluster's site file")] = None
    target_minutes: Annotated[
        Annotated[Positive, Field(lt=10**6)] | None, Field(description="a cluster's jobs are made about so long")
    ] = None


def read(config: dict[str, Any]) -> Config:
    """Check Snakemake's configuration.

    Raises:
        UserError: an unknown key, with the nearest valid one; a value that cannot be.
    """
    return messages.validated(Document(SOURCE, dict(config)), Config)


def options(params: Path, tier: str) -> str:
    """What Snakemake has to be told, quoted for a shell, so that it plans this tier of this file."""
    file = "" if params == Path(PARAMS) else f" {shlex.quote(f'params={params}')}"
    return f"--config tier={tier}{file}"
