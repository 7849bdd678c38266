"""Semi-supervised speech recognition with an EMA teacher whose training dynamics survive a change of scale."""
