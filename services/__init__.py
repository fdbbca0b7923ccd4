"""What an experiment is, and its stores: the torch-free heart that every door (api, cli, worker) calls."""
