"""Stand-ins for programs of the observability stack."""
