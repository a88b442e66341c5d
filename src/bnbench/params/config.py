"""Keys of Snakemake's `--config`, validated as strictly as the parameter file."""

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
FilePath = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=4000)]


class Config(Strict):
    """Settings of `snakemake --config` and of the `configfile` of a profile."""

    params: Annotated[FilePath, Field(description="path of the parameter file")] = PARAMS
    tier: Annotated[Tier | None, Field(description="tier to use instead of the parameter file's")] = None
    device: Annotated[
        str, AfterValidator(devices.named), Field(description="device that trains: cpu, cuda, cuda:N, cuda+cpu")
    ] = "cpu"
    site: Annotated[FilePath | None, Field(description="path of a cluster's site file")] = None
    target_minutes: Annotated[
        Annotated[Positive, Field(lt=10**6)] | None,
        Field(description="intended duration of a cluster's jobs, in minutes"),
    ] = None


def read(config: dict[str, Any]) -> Config:
    """Validate Snakemake's configuration.

    Raises:
        UserError: an unknown key, with the nearest valid one, or an invalid value.
    """
    return messages.validated(Document(SOURCE, dict(config)), Config)


def options(params: Path, tier: str) -> str:
    """Return the arguments, quoted for a shell, that make Snakemake plan a tier of a parameter file."""
    file = "" if params == Path(PARAMS) else f" {shlex.quote(f'params={params}')}"
    return f"--config tier={tier}{file}"
