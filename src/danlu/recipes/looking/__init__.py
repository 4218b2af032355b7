"""What there is, and whether it holds: machine, models, runs, errors, proofs."""
