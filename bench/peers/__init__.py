"""penstock beside other servers: `python -m peers`."""
