"""Generated from proto/mrcore/rpc/v1; never edited. `scripts/gen_protos` writes it."""
