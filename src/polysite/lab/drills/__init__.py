"""Scenarios carried out on a lab under load, and what came of them: the run, the checks, the timeline."""
