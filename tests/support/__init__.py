"""What tests share: servers, clusters, made-up data, and ways to run the commands."""
