"""The lab: everything the tests and the demo need on this machine, made when missing and skipped when current."""
