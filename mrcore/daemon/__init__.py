"""Parts that both daemons share: options, logs, metrics, systemd."""
