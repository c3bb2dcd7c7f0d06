"""Physics and drawing that several tasks share."""
