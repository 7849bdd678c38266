"""Words with times, as captions show them and files hold them."""
