"""Settings as a user types them: values, grids, and spaces to search."""
