"""Example plugin of tutor-affect."""
