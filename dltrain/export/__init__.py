"""Trained models for use elsewhere: captured, checked against the original, described, and made smaller."""
