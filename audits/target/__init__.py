"""Audits of Flower clients of other people, as they show from outside."""
