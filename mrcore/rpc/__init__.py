"""The border to gRPC: generated code, conversion, status, channels, servers."""
