"""What recurrent networks stand on: gates, cells, attention over positions, products shared by all steps."""
