"""Files for machines that run mrcore: units, scripts, roles, and the archive of them for VMs."""
