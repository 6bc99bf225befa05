"""What Snakemake needs of the package: the plan of a scan's jobs, their frame, the lock, and the state of a batch."""
