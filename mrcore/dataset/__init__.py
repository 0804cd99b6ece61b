"""Datasets: lazy pipelines that become one job. A dataset is sugar over stages."""
