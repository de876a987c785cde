"""Runs the stages of a plan file remotely, with artifacts that stay on the server."""
