"""One invocation of Snakemake: checks before it, job files and resources for it, what happens at its start and end."""
