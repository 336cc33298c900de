"""The suites: each file one question, answered as a list of figures."""
