"""Returns of whole episodes, given to the steps that earned them."""
