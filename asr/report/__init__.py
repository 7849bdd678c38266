"""The results of finished runs -> pages."""
