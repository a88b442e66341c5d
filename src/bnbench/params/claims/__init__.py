"""Works and claims in the parameter file: their schema, and the rules that it cannot express."""
