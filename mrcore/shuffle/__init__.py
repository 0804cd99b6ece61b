"""From emitted pairs to sorted runs, and from runs to grouped keys."""
