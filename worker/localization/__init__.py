"""Where an action is: tubes from attention maps, and how tubes are measured. Open `metrics` first."""
