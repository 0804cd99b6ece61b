"""The parts that both daemons share: options, logs, metrics, systemd."""
