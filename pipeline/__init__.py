"""From stored photographs to colored ones: everything but the model and the commands."""
