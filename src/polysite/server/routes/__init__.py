"""The verbs of `/v3`, one module per kind of resource. A route parses, calls one coordinator verb, renders."""
