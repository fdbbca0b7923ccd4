"""What an experiment is, and its stores: the heart that every door (api, cli, worker) calls."""
