"""What runs at a site: each service as data (how it is started) and as a question (whether it is ready)."""
