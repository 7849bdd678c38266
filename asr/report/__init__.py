"""The figures of finished runs -> pages."""
