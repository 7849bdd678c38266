"""Manifests of any size: scanned once, mapped from then on."""
