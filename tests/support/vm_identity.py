"""Identity of a VM, for tests of metadata servers."""

from __future__ import annotations

from tests.cloud.compute.machines import Scheduling, Vm

VM = Vm(
    id=4711,
    name="mrcore-a-worker-x1",
    project="demo",
    zone="us-central1-a",
    machine_type="n2-standard-4",
    cpus=4,
    memory_mb=16384,
    image="debian-12-bookworm",
    network_ip="127.0.0.2",
    service_account="worker@demo.iam.gserviceaccount.com",
    scopes=("https://www.googleapis.com/auth/cloud-platform",),
    metadata={"mrcore-role": "worker", "startup-script": "#! /bin/sh\ntrue\n"},
    project_metadata={"enable-oslogin": "TRUE"},
    scheduling=Scheduling("SPOT", automatic_restart=False, termination_action="DELETE"),
    project_number=123456,
)
