"""`asr label`: labels of prepared sets, by our models or by those of others."""
