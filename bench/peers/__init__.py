"""The peers: each file one way of doing the job, as its own users would write it."""
