"""Making models smaller: settings (`Prune`, `Factorize`, `Quantize`) with `apply(model, calibration, voice, seed)`.

They are kept as plain data in `danlu.json` (what was done), while `shapes` says what stands. What has to be learned,
healing and distilling, is a step of `recipes/compressing`.
"""
