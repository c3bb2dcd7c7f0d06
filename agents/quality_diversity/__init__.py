"""Quality-diversity: many different behaviours where rewards are sparse (TAXONS, SERENE, STAX), and their rivals."""
