"""The parameter file: schema, grids, model names, rules of norms; every check before anything is trained."""
