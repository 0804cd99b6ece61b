"""What a job on Google Cloud costs: before it runs, while it runs, and after."""
